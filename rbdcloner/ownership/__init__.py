# SPDX-License-Identifier: Apache-2.0
"""Who may work on a row: leases, fencing, and the guard of each act."""
