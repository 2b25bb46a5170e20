# SPDX-License-Identifier: Apache-2.0
"""What a disk costs by this service, by librbd, by ``rbd`` and by Nova."""
