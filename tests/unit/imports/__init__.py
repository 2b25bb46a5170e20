# SPDX-License-Identifier: Apache-2.0
"""Image imports, and the data of images."""
