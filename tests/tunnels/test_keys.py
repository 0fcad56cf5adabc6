"""Keys made in Python are OpenSSH's and the RFC's, and say nothing of themselves."""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.tunnels.keys import openssh

VERSION = str(uuid.UUID(int=7))


@pytest.mark.parametrize(("seed", "public"), [
    # RFC 8032, section 7.1.
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
    ("f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
     "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e"),
])
def test_the_rfcs_own_examples(seed: str, public: str) -> None:
    line = openssh.Key(bytes.fromhex(seed), VERSION).line()
    # The blob is the length and name of the kind, then the length and bytes of the key.
    assert base64.b64decode(line.split()[1])[-32:].hex() == public


@given(st.binary(min_size=32, max_size=32), st.uuids())
def test_what_is_written_others_read(seed: bytes, version: uuid.UUID) -> None:
    key = openssh.Key(seed, str(version))
    read = asyncssh.import_private_key(key.private())
    assert read.export_public_key().decode().split()[:2] == key.line().split()[:2]
    loaded = serialization.load_ssh_private_key(key.private().encode(), None)
    assert isinstance(loaded, Ed25519PrivateKey) and loaded.private_bytes_raw() == seed


@pytest.mark.parametrize("size", [0, 31, 33])
def test_anything_but_32_bytes_is_no_key(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        openssh.Key(b"x" * size, VERSION)


def test_ssh_keygen_reads_it(tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("needs ssh-keygen; apt-get install openssh-client")
    key = openssh.Key(bytes(range(32)), VERSION)
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(key.private())
    said = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True).stdout
    assert said.strip() == key.line()


def test_a_key_shows_neither_seed_nor_text() -> None:
    key = openssh.Key(bytes(range(32)), VERSION)
    for text in (repr(key), str(key), f"{key}"):
        assert text == f"Key({VERSION})"
    assert bytes(range(32)) not in base64.b64decode(key.line().split()[1])


def test_only_lines_of_ours_are_keys_of_the_far_side() -> None:
    line = openssh.Key(bytes(32), VERSION).line()
    text = f"{line}\nssh-rsa AAAA x\n# no key\n{line} command=evil\n from=* {line}\n"
    assert openssh.published(text) == {VERSION: line}
    assert openssh.published(openssh.listed([])) == {} and openssh.listed([])
    assert openssh.published(openssh.listed([line])) == {VERSION: line}
