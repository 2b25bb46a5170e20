# SPDX-License-Identifier: Apache-2.0
"""Runs the suites, for tools/test."""
