# SPDX-License-Identifier: Apache-2.0
"""What the service relies on, claimed of any lineage database.

A test module takes the classes and gives two fixtures: ``engine``, an engine
of a migrated database without rows, and ``rounds``, how often a race is run.
"""
