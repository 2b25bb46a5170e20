# SPDX-License-Identifier: Apache-2.0
"""What images are is seen from their bytes, whatever Glance says."""

import dataclasses
import struct

import hypothesis
from hypothesis import strategies
import pytest

from rbdcloner import errors
from rbdcloner.images import inspection
from tests.unit.images import specimens
from tests.unit.images.specimens import MIB
from tests.unit.images.specimens import SIZE_BYTES

LIMIT_BYTES = 64 * MIB
VICTIM = '/etc/passwd'


def pieces_of(data, size_bytes):
    for begin in range(0, len(data), size_bytes):
        yield data[begin : begin + size_bytes]


def inspected(data, said, piece_bytes=MIB, limit_bytes=LIMIT_BYTES):
    """Return the disk that *data* is, or raise what is wrong with it."""
    image = specimens.of(said, len(data))
    inspection.accept(dataclasses.replace(image, size_bytes=1))
    watcher = inspection.Inspection(image, limit_bytes)
    passed = list(watcher.watch(pieces_of(data, piece_bytes)))
    assert b''.join(passed) == data
    return watcher.disk()


def refused(error, data, said, match=None):
    for piece_bytes in (MIB, 65_521):
        with pytest.raises(error, match=match) as caught:
            inspected(data, said, piece_bytes)
    return caught.value


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp('source') / 'disk'
    specimens.disk(path)
    return path


@pytest.fixture(scope='module')
def made(tmp_path_factory, source):
    """The bytes of each kind of image of one disk."""
    folder = tmp_path_factory.mktemp('made')
    return {
        name: specimens.converted(source, name, folder / name).read_bytes()
        for name in specimens.FORMATS
    } | {'raw': source.read_bytes()}


@pytest.mark.parametrize('piece_bytes', [MIB, 65_521])
@pytest.mark.parametrize('name', [*specimens.FORMATS, 'raw'])
def test_each_format_is_known_with_its_size(made, name, piece_bytes):
    said = specimens.said(name)
    found = inspected(made[name], said, piece_bytes)
    assert found == inspection.Disk(said, SIZE_BYTES)


@pytest.mark.parametrize('name', specimens.FORMATS)
def test_what_is_said_to_be_raw_and_is_not_differs(made, name):
    said = specimens.said(name)
    found = refused(errors.FormatDiffers, made[name], 'raw')
    assert found.kwargs['found'] == said


@pytest.mark.parametrize('said', sorted(inspection.CONVERTED))
def test_what_is_raw_is_nothing_else(made, said):
    found = refused(errors.FormatDiffers, made['raw'], said)
    assert found.kwargs['found'] == 'raw'


def test_vhd_of_fixed_size_may_have_partitions(tmp_path):
    source = tmp_path / 'disk'
    specimens.disk(source, partitioned=True)
    path = specimens.converted(source, 'vhd-fixed', tmp_path / 'vhd')
    found = inspected(path.read_bytes(), 'vhd')
    assert found == inspection.Disk('vhd', SIZE_BYTES)


@pytest.mark.parametrize(
    ('offset', 'field'),
    [
        # More than there is, nothing, and a kind that has a header.
        (48, struct.pack('>Q', SIZE_BYTES + 1)),
        (48, bytes(8)),
        (60, struct.pack('>I', 3)),
    ],
)
def test_footer_that_is_not_of_a_fixed_vhd_makes_none(made, offset, field):
    data = bytearray(made['vhd-fixed'])
    begin = len(data) - 512 + offset
    data[begin : begin + len(field)] = field
    found = refused(errors.FormatDiffers, bytes(data), 'vhd')
    assert found.kwargs['found'] == 'raw'


def test_what_differs_is_not_read_to_its_end(made):
    image = specimens.of('raw', 1 << 40)
    watcher = inspection.Inspection(image, 1 << 50)
    sent = []

    def pieces():
        for piece in pieces_of(made['qcow2'], MIB):
            sent.append(piece)
            yield piece

    with pytest.raises(errors.FormatDiffers):
        list(watcher.watch(pieces()))
    assert len(sent) == 1


def test_a_raw_disk_may_have_partitions_and_an_iso_too(tmp_path):
    content = specimens.disk(tmp_path / 'disk', partitioned=True)
    assert inspected(content, 'raw').format == 'raw'
    hybrid = specimens.iso(tmp_path, hybrid=True).read_bytes()
    assert inspected(hybrid, 'iso').size_bytes == len(hybrid)
    refused(errors.FormatDiffers, content, 'iso', 'gpt and raw')
    refused(errors.FormatDiffers, hybrid, 'raw', 'iso')


def test_an_iso_is_as_large_as_its_data(tmp_path):
    data = specimens.iso(tmp_path).read_bytes() + bytes(7)
    assert inspected(data, 'iso') == inspection.Disk('iso', len(data))
    refused(errors.FormatDiffers, data, 'qcow2', 'iso')


@pytest.mark.parametrize('size_bytes', [0, 1, 511, 512, 40_000])
def test_a_small_image_is_raw(size_bytes):
    assert inspected(b'x' * size_bytes, 'raw').size_bytes == size_bytes


def test_text_that_is_no_vmdk_is_raw():
    text = 'été\n'.encode().rjust(600, b'x')
    assert inspected(text, 'raw').format == 'raw'
    refused(errors.FormatDiffers, text, 'vmdk')


@pytest.mark.parametrize('said', ['', 'ploop', 'ami', 'luks', 'gpt', 'qed'])
def test_other_formats_are_refused_by_name(said):
    with pytest.raises(errors.FormatUnsupported, match=said or 'unknown'):
        inspection.accept(specimens.of(said))


def test_an_image_without_data_is_refused_by_name(tmp_path):
    with pytest.raises(errors.ImageEmpty):
        inspection.accept(specimens.of('raw', 0))
    inspection.accept(specimens.of('raw', 1))
    specimens.qemu_img('create', '-f', 'qcow2', tmp_path / 'image', 0)
    refused(errors.ImageEmpty, (tmp_path / 'image').read_bytes(), 'qcow2')


@pytest.mark.parametrize('container', ['', 'ovf', 'ova', 'compressed'])
def test_containers_are_refused_by_name(container):
    image = specimens.of('qcow2', container_format=container)
    with pytest.raises(
        errors.ContainerUnsupported, match=container or 'unknown'
    ):
        inspection.accept(image)


@pytest.mark.parametrize('said', ['raw', 'qcow2', 'vmdk'])
@pytest.mark.parametrize('packer', specimens.PACKERS)
def test_packed_data_is_named(made, tmp_path, packer, said):
    data = specimens.PACKERS[packer](made['qcow2'], tmp_path)
    refused(errors.ContainerUnsupported, data, said, packer)


# CVE-2022-47951


@pytest.mark.parametrize(
    'kind',
    [
        *('monolithicFlat', 'vmfs', 'vmfsSparse', 'seSparse'),
        *('twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'fullDevice'),
    ],
)
def test_a_vmdk_that_lies_in_other_files_is_unsafe(tmp_path, kind):
    trap = specimens.flat_vmdk(tmp_path / 'trap', VICTIM, kind).read_bytes()
    refused(errors.ImageUnsafe, trap, 'vmdk', 'subformat')
    refused(errors.FormatDiffers, trap, 'raw', 'vmdk')
    refused(errors.FormatDiffers, trap, 'qcow2', 'vmdk')


def test_a_vmdk_that_is_a_text_is_unsafe_whatever_it_says(tmp_path):
    trap = specimens.flat_vmdk(tmp_path / 'trap', VICTIM, 'monolithicSparse')
    refused(errors.ImageUnsafe, trap.read_bytes(), 'vmdk', 'extent')
    beside = trap.read_text().replace(VICTIM, 'beside')
    refused(errors.ImageUnsafe, beside.encode(), 'vmdk', 'no sense')


def test_a_vmdk_with_an_extent_elsewhere_is_unsafe(made, tmp_path):
    sound = tmp_path / 'sound'
    sound.write_bytes(made['vmdk'])
    trap = specimens.extent_elsewhere(sound, tmp_path / 'trap')
    refused(errors.ImageUnsafe, trap.read_bytes(), 'vmdk', 'extent')


def test_a_vmdk_with_a_parent_is_unsafe(made, tmp_path):
    sound = tmp_path / 'sound'
    sound.write_bytes(made['vmdk'])
    trap = specimens.with_parent(sound, tmp_path / 'trap', VICTIM)
    refused(errors.ImageUnsafe, trap.read_bytes(), 'vmdk', 'parent')


def test_a_vmdk_that_qemu_reads_in_another_way_is_unsafe(tmp_path):
    trap = specimens.two_faced_vmdk(tmp_path / 'trap', VICTIM)
    refused(errors.ImageUnsafe, trap.read_bytes(), 'vmdk', 'no size')


@pytest.mark.parametrize(('offset', 'data'), [(4, b'\x09'), (28, b'\x02')])
def test_a_vmdk_whose_header_is_strange_is_unsafe(made, offset, data):
    strange = bytearray(made['vmdk'])
    strange[offset : offset + 1] = data
    refused(errors.ImageUnsafe, bytes(strange), 'vmdk', 'no sense')


def test_a_vmdk_whose_end_says_something_else_is_unsafe(made):
    strange = bytearray(made['vmdk-stream'])
    strange[56:64] = b'\xff' * 8
    refused(errors.ImageUnsafe, bytes(strange), 'vmdk', 'ooter')


# CVE-2024-32498


def test_a_qcow2_with_a_backing_file_is_unsafe(tmp_path):
    trap = specimens.with_backing_file(tmp_path / 'trap', VICTIM)
    refused(errors.ImageUnsafe, trap.read_bytes(), 'qcow2', 'backing file')
    refused(errors.FormatDiffers, trap.read_bytes(), 'raw', 'qcow2')


@pytest.mark.parametrize(
    'data_file',
    [
        VICTIM,
        'json:{"driver":"raw","file":{"driver":"file",'
        '"filename":"/etc/passwd"}}',
    ],
)
def test_a_qcow2_with_a_data_file_is_unsafe(tmp_path, data_file):
    trap = specimens.with_data_file(tmp_path / 'trap', data_file)
    assert data_file.encode() in trap.read_bytes()
    refused(errors.ImageUnsafe, trap.read_bytes(), 'qcow2', 'data_file')
    refused(errors.FormatDiffers, trap.read_bytes(), 'raw', 'qcow2')


@pytest.mark.parametrize(('offset', 'data'), [(79, b'\x20'), (72, b'\x80')])
def test_a_qcow2_with_unknown_features_is_not_supported(made, offset, data):
    strange = bytearray(made['qcow2'])
    strange[offset : offset + 1] = data
    refused(errors.FeatureUnsupported, bytes(strange), 'qcow2', 'feature bit')


def test_a_qcow2_with_extended_l2_entries_is_not_supported(tmp_path):
    options = 'extended_l2=on,cluster_size=128k'
    path = tmp_path / 'image'
    specimens.qemu_img('create', '-f', 'qcow2', '-o', options, path, MIB)
    data = path.read_bytes()
    refused(errors.FeatureUnsupported, data, 'qcow2', 'extended L2')


def test_a_vmdk_whose_descriptor_is_not_ascii_is_not_supported(made):
    strange = made['vmdk'].replace(b'# Disk', b'# D\xefsk')
    refused(errors.FeatureUnsupported, strange, 'vmdk', 'ASCII')


def test_a_vhd_with_a_parent_is_not_supported_before_it_has_come(
    made, tmp_path
):
    path = tmp_path / 'image'
    path.write_bytes(made['vhd'])
    specimens.rewritten_vhd(path, b'win ', kind=4)
    image = specimens.of('vhd', 1 << 30)
    watcher = inspection.Inspection(image, 1 << 50)
    with pytest.raises(errors.FeatureUnsupported, match='differencing'):
        next(watcher.watch([path.read_bytes()[:MIB]]))


def test_a_vhd_that_grew_has_its_present_size(made):
    grown = bytearray(made['vhd-forced'])
    grown[40:48] = bytes(8)
    assert inspected(bytes(grown), 'vhd').size_bytes == SIZE_BYTES


@pytest.mark.parametrize('version', [0, 1, 4])
def test_a_qcow2_of_another_version_is_not_supported(made, version):
    strange = bytearray(made['qcow2'])
    strange[4:8] = struct.pack('>I', version)
    refused(errors.FeatureUnsupported, bytes(strange), 'qcow2', 'version')


# Others


@pytest.mark.parametrize('version', [1, 2])
def test_what_is_encrypted_is_not_supported(version):
    data = b'LUKS\xba\xbe' + struct.pack('>H', version) + bytes(MIB)
    refused(errors.FeatureUnsupported, data, 'raw', 'encryption')


def test_a_format_that_nobody_uses_is_not_taken_for_raw(tmp_path):
    specimens.qemu_img('create', '-f', 'qed', tmp_path / 'qed', MIB)
    data = (tmp_path / 'qed').read_bytes()
    refused(errors.FormatDiffers, data, 'raw', 'qed')


def test_two_formats_in_one_image_are_one_too_many(made, tmp_path):
    both = bytearray(specimens.iso(tmp_path).read_bytes())
    both[:512] = made['qcow2'][:512]
    for said in ('qcow2', 'iso', 'raw'):
        refused(errors.FormatDiffers, bytes(both), said, 'iso and qcow2')


@pytest.mark.parametrize('kind', ['qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk'])
def test_a_bomb_is_too_large(tmp_path, kind):
    specimens.qemu_img('create', '-f', kind, tmp_path / 'bomb', '1T')
    data = (tmp_path / 'bomb').read_bytes()
    said = {'vpc': 'vhd'}.get(kind, kind)
    found = refused(errors.ImageTooLarge, data, said)
    assert found.kwargs['limit_bytes'] == LIMIT_BYTES
    assert found.kwargs['size_bytes'] >= 1_090_921_693_184


def test_a_size_of_64_bits_is_too_large(made):
    bomb = bytearray(made['qcow2'])
    bomb[24:32] = b'\xff' * 8
    refused(errors.ImageTooLarge, bytes(bomb), 'qcow2')


def test_raw_data_over_the_limit_is_too_large_before_it_has_come():
    watcher = inspection.Inspection(specimens.of('raw', 1 << 40), LIMIT_BYTES)
    with pytest.raises(errors.ImageTooLarge):
        list(watcher.watch([bytes(MIB)]))


@pytest.mark.parametrize('name', specimens.FORMATS)
@pytest.mark.parametrize('kept_bytes', [600, 66_000, 200_000])
def test_half_of_an_image_is_refused_or_has_its_size(made, name, kept_bytes):
    said = specimens.said(name)
    try:
        found = inspected(made[name][:kept_bytes], said)
    except errors.ImageUnfit:
        return
    assert found == inspection.Disk(said, SIZE_BYTES)


@hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    name=strategies.sampled_from(sorted(specimens.FORMATS)),
    offset=strategies.integers(0, 2048) | strategies.integers(0, 4 * MIB),
    junk=strategies.binary(min_size=1, max_size=64),
    piece_bytes=strategies.sampled_from([65_521, MIB]),
)
def test_no_header_breaks_more_than_itself(
    made, name, offset, junk, piece_bytes
):
    damaged = bytearray(made[name])
    damaged[offset : offset + len(junk)] = junk
    try:
        inspected(bytes(damaged), specimens.said(name), piece_bytes)
    except errors.ImageUnfit as exc:
        assert len(str(exc)) < 300
