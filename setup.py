# SPDX-License-Identifier: Apache-2.0
"""Hand the build to pbr, which reads setup.cfg."""

import setuptools

setuptools.setup(setup_requires=['pbr>=7.0.0'], pbr=True)
