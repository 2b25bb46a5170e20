# SPDX-License-Identifier: Apache-2.0
"""What users of an OpenStack do, on a real one."""
