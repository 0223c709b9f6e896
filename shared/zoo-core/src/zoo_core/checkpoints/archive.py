"""The zip file that :func:`torch.save` writes: where its members lie, if it is what it says it is.

A zip file says everything twice, in a directory at its end and in front of each member. Only where both agree, and no
two members share a byte, is a member's place in the file its content, which can be mapped or read as it is.
"""

import struct
import zipfile
from dataclasses import dataclass
from typing import IO, BinaryIO, NamedTuple

MAGIC = b"PK\x03\x04"

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1
_SIZES_FOLLOW = 0x8  # the local header leaves sizes out, they come after the data
_SIZE_IS_ELSEWHERE = 0xFFFFFFFF  # in the zip64 record
_MAX_COMPRESSED_PICKLE = 2**28


class DamagedArchiveError(Exception):
    """The file contradicts itself. The message is a clause that says how."""


class Member(NamedTuple):
    """A file in the archive.

    Attributes:
        start: offset of its first byte in the archive.
        size: of its content, in bytes.
        compressed: ``None`` if the content lies there as it is.
    """

    start: int
    size: int
    compressed: zipfile.ZipInfo | None


@dataclass(frozen=True)
class Archive:
    """An archive whose directory has been checked against its members.

    Attributes:
        members: by their names below the archive's one folder: ``data.pkl``, ``data/0``, ...
    """

    members: dict[str, Member]
    _file: BinaryIO
    _zip: zipfile.ZipFile

    @classmethod
    def open(cls, file: BinaryIO) -> "Archive":
        """Reads the directory of an open file.

        Raises:
            DamagedArchiveError: the directory cannot be read, or the members are not where and what it says.
        """
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise DamagedArchiveError(str(error).rstrip(".") or "no zip directory") from error
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        names = [info.orig_filename for info in infos]
        if len(set(names)) < len(names):
            raise DamagedArchiveError("two members have one name")
        members: dict[str, Member] = {}
        folder = names[0].partition("/")[0] if names else ""
        ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
        for info, next_starts in zip(infos, ends, strict=True):
            member = _member(file, info)
            if member.start + info.compress_size > next_starts:
                raise DamagedArchiveError(f"the member {info.orig_filename!r} reaches into what follows it")
            top, _, name = info.orig_filename.partition("/")
            if top == folder:
                members[name] = member
        return cls(members, file, archive)

    def content(self, name: str) -> bytes:
        """The content of a member, for small ones.

        Raises:
            DamagedArchiveError: there is no such member, or it cannot be decompressed.
        """
        member = self.members.get(name)
        if member is None:
            raise DamagedArchiveError(f"it has no member {name!r}")
        if member.compressed and member.size > _MAX_COMPRESSED_PICKLE:
            raise DamagedArchiveError(f"the member {name!r} would take {member.size} bytes")
        content = bytearray(member.size)
        self.read_into(member, memoryview(content))
        return bytes(content)

    def read_into(self, member: Member, target: memoryview) -> None:
        """Reads all of a member, decompressed, into memory of its size.

        Raises:
            DamagedArchiveError: there is less or more of it, or it cannot be decompressed.
        """
        if member.compressed is None:
            self._file.seek(member.start)
            if read_fully(self._file, target) < member.size:
                raise DamagedArchiveError("it ends too early")
            return
        try:
            with self._zip.open(member.compressed) as stream:
                count = read_fully(stream, target)
                rest = stream.read(1)
        except Exception as error:  # each method of compression has errors of its own
            raise DamagedArchiveError(f"{member.compressed.orig_filename!r}: {error}") from error
        if count < member.size or rest:
            raise DamagedArchiveError(f"the size of {member.compressed.orig_filename!r} is not the one stated")


def read_fully(stream: IO[bytes], target: memoryview) -> int:
    """Fills memory from a stream. Returns the number of bytes, fewer only where the stream ends."""
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _member(file: BinaryIO, info: zipfile.ZipInfo) -> Member:
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise DamagedArchiveError(f"the member {info.orig_filename!r} lies beyond the end")
    magic, _, flags, method, _, _, _, compressed_size, size, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    name = file.read(name_length)
    encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    if magic != MAGIC or method != info.compress_type or name != info.orig_filename.encode(encoding, "replace"):
        raise DamagedArchiveError(f"the member {info.orig_filename!r} is not where the directory says")
    if (flags | info.flag_bits) & _ENCRYPTED:
        raise DamagedArchiveError(f"the member {info.orig_filename!r} is encrypted")
    if not flags & _SIZES_FOLLOW:
        for stated, expected in ((compressed_size, info.compress_size), (size, info.file_size)):
            if stated not in (expected, _SIZE_IS_ELSEWHERE):
                raise DamagedArchiveError(f"the member {info.orig_filename!r} has two sizes")
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if method == zipfile.ZIP_STORED:
        if info.compress_size != info.file_size:
            raise DamagedArchiveError(f"the member {info.orig_filename!r} has two sizes")
        return Member(start, info.file_size, None)
    return Member(start, info.file_size, info)
