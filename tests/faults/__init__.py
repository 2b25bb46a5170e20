# SPDX-License-Identifier: Apache-2.0
"""What goes wrong is named and leaves nothing: input, servers, deaths."""
