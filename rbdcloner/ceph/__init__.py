# SPDX-License-Identifier: Apache-2.0
"""Ceph: the few verbs the service needs, and librbd's way of doing them."""

from rbdcloner import bindings

bindings.install()
