# SPDX-License-Identifier: Apache-2.0
"""What can be said of the code without running it."""
