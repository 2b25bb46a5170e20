# SPDX-License-Identifier: Apache-2.0
"""What keeps the unit tests quick: half of hypothesis's usual examples."""

import hypothesis

hypothesis.settings.register_profile('quick', max_examples=50)
hypothesis.settings.load_profile('quick')
