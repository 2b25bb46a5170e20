# SPDX-License-Identifier: Apache-2.0
"""The processes of rbdcloner-manager, and how their parts are wired."""
