# SPDX-License-Identifier: Apache-2.0
"""What waits for a slot: flattens and image imports."""
