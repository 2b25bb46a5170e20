# SPDX-License-Identifier: Apache-2.0
"""What takes its time, and is run by hand."""
