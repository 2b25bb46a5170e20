# SPDX-License-Identifier: Apache-2.0
"""What keeps the unit tests quick: half of hypothesis's usual examples."""

import hypothesis

hypothesis.settings.register_profile(
    'quick',
    max_examples=50,
    # That is about the machine, which others use, too.
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('quick')
