# SPDX-License-Identifier: Apache-2.0
"""What must hold before anything is destroyed."""
