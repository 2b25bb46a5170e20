# SPDX-License-Identifier: Apache-2.0
"""The RPC server: what callers send is validated, done and answered."""
