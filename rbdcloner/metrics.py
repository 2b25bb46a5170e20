# SPDX-License-Identifier: Apache-2.0
"""What is counted, for Prometheus.

Worker processes add up through prometheus_client's multiprocess mode, in the
folder that ``PROMETHEUS_MULTIPROC_DIR`` names.
"""

import prometheus_client

REQUESTS = prometheus_client.Histogram(
    'rbdcloner_request_seconds',
    'Time from the start of a request to its answer.',
    ('method', 'outcome'),
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)

OUTDATED = prometheus_client.Gauge(
    'rbdcloner_database_outdated',
    '1 while nothing is destroyed, as the database is older than the pools.',
    multiprocess_mode='mostrecent',
)

REFUSALS = prometheus_client.Counter(
    'rbdcloner_refusals',
    'Image locations that could not be cloned, by reason.',
    ('reason',),
)

BRAKE = prometheus_client.Gauge(
    'rbdcloner_brake_engaged',
    'Whether nothing is removed for being missing, until it is released.',
    multiprocess_mode='mostrecent',
)
