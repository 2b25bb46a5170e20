# SPDX-License-Identifier: Apache-2.0
"""Our errors as Nova's."""

import inspect
import re

from nova import exception
import testtools

from rbdcloner import errors
from rbdcloner.nova import answers


def _error(kind: type[errors.Error]) -> errors.Error:
    named = re.findall(r'{(\w+)}', kind.__doc__ or '')
    facts: dict[str, object] = {name: f'the {name}' for name in named}
    if 'image_bytes' in facts:
        facts |= {'image_bytes': 2, 'size_bytes': 1}
    return kind(**facts)


#: What Nova knows what to do with; everything else is a sentence.
TABLE: dict[type[errors.Error], type[exception.NovaException]] = {
    errors.ImageNotFound: exception.ImageNotFound,
    errors.ImageNotActive: exception.ImageNotActive,
    errors.ImageForbidden: exception.ImageNotAuthorized,
    errors.ImageTooBig: exception.FlavorDiskSmallerThanImage,
    errors.CephForbidden: exception.Forbidden,
    errors.ChildrenHidden: exception.Forbidden,
    errors.DiskNotFound: exception.DiskNotFound,
    errors.DiskSnapshotNotFound: exception.SnapshotNotFound,
    errors.ShrinkRefused: exception.ResizeError,
}

#: Nova downloads the image.
UNACCEPTABLE: list[type[errors.Error]] = [
    errors.ImageAbsentLately,
    errors.ImageError,
    errors.ImageHidden,
    errors.ImageReplaced,
    errors.ImageNotCloneable,
    errors.ImageInGlance,
    errors.ImageDamaged,
    errors.ImageUnfit,
    errors.FormatUnsupported,
    errors.ImageEmpty,
    errors.FeatureUnsupported,
    errors.SizeDiffers,
    errors.ContainerUnsupported,
    errors.FormatDiffers,
    errors.ImageUnsafe,
    errors.ImageTooLarge,
    errors.ChecksumDiffers,
    errors.DataTruncated,
    errors.ImageDataMissing,
    errors.SignatureInvalid,
    errors.ScratchTooSmall,
    errors.ImageImporting,
    errors.ImportRefused,
    errors.ImportStopped,
]
TABLE |= dict.fromkeys(UNACCEPTABLE, exception.ImageUnacceptable)


class AnswerTest(testtools.TestCase):
    def test_what_nova_knows_is_told_in_its_words(self) -> None:
        for ours, novas in TABLE.items():
            self.assertIs(novas, type(answers.novas(_error(ours))), ours)

    def test_everything_else_is_our_sentence(self) -> None:
        for _, kind in inspect.getmembers(errors, inspect.isclass):
            if kind in TABLE or not issubclass(kind, errors.Error):
                continue
            told = answers.novas(_error(kind))
            self.assertIs(exception.NovaException, type(told))
            self.assertEqual(str(_error(kind)), str(told))

    def test_sizes_are_told(self) -> None:
        told = answers.novas(_error(errors.ImageTooBig))
        self.assertIn('disk is 1 bytes, image is 2 bytes', str(told))

    def test_what_is_unacceptable_says_why(self) -> None:
        told = answers.novas(_error(errors.ImageNotCloneable))
        self.assertIn('cannot be cloned: the summary', str(told))
