# SPDX-License-Identifier: Apache-2.0
"""What the documents say of platforms is what is installed and run."""
