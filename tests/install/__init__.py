# SPDX-License-Identifier: Apache-2.0
"""The documents of installation, carried out command by command.

Each host of a document is a bare root of Debian (``tools/release --fresh``),
or, for Ceph, RabbitMQ and the databases, servers of ``tests/stack``.
"""
