# SPDX-License-Identifier: Apache-2.0
"""A Glance image becomes a base image: its data, inspected and written."""
