# SPDX-License-Identifier: Apache-2.0
"""The service, or a room of it, against the real servers."""
