#!/usr/bin/env bash
# Makes a folder with every kind of entry and the names that break backup tools.
#
#     scripts/hostile_tree.sh DIR
#
# As root it holds devices and trusted attributes as well. With an initial argument --fixture RESTIC it also backs the
# folder up with that restic under TZ=UTC and writes the stored trees to src/vault/tree/testdata.
set -euo pipefail

restic=
if [[ ${1:-} == --fixture ]]; then
  restic=$2
  shift 2
fi
dir=${1:?usage: hostile_tree.sh [--fixture RESTIC] DIR}
mkdir -p "$dir"/{names,kinds,modes,times,links,attributes}
dir=$(cd "$dir" && pwd)

python3 - "$dir" <<'PY'
import os, socket, sys

root = os.fsencode(sys.argv[1])
names = [
    b"plain.txt", b" space ", b"it's", b'"', b"\\", b"a\\x41", b"<script>&amp;", b"$(reboot)", b"-rf", b"~", b"...",
    b"\x01", b"\a\b\f\n\r\t\v", b"\x1b[2J", b"\x7f", b"\x80", b"\xff\xfe", b"caf\xc3\xa9", b"cafe\xcc\x81",
    b"\xed\xa0\x80", b"\xc3(", b"a" * 255, "é".encode() * 127, b"\xff" * 255,
    "\u00a0".encode(), "\u00ad".encode(), "\u200d".encode(), "\u2028\u2029".encode(), "\u3000".encode(),
    "\ufeffbom".encode(), "\ufffd".encode(), "\ue000".encode(), "\uffff".encode(), "\U0001f600".encode(),
    "\U0001fae8".encode(), "\U0001fae9".encode(), "\U000e0001".encode(), "\U0010ffff".encode(), "日本語".encode(),
]
for at, name in enumerate(names):
    with open(os.path.join(root, b"names", name), "wb") as file:
        file.write(b"x" * at)

kinds = os.path.join(root, b"kinds")
open(os.path.join(kinds, b"empty"), "wb").close()
os.mkdir(os.path.join(kinds, b"empty folder"))
os.mkfifo(os.path.join(kinds, b"fifo"))
os.chdir(kinds)
socket.socket(socket.AF_UNIX).bind("socket")
for name, target in [
    (b"link", b"empty"), (b"dangling", b"../nowhere/<a>&\xe2\x80\xa8"), (b"raw link", b"\xff\x08\x0c\x1b/\xe2\x82"),
    (b"long link", b"x" * 4000),
]:
    os.symlink(target, name)
if os.geteuid() == 0:
    os.mknod(b"block", 0o60660, os.makedev(7, 300))
    os.mknod(b"char", 0o20666, os.makedev(1, 3))
    os.mknod(b"large numbers", 0o20600, os.makedev(4000, 1000000))

for mode in [0, 0o400, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777]:
    path = os.path.join(root, b"modes", b"%04o" % mode)
    open(path, "wb").close()
    os.chmod(path, mode)
for mode in [0o700, 0o1777, 0o2775]:
    path = os.path.join(root, b"modes", b"folder %04o" % mode)
    os.mkdir(path)
    os.chmod(path, mode)
if os.geteuid() == 0:
    path = os.path.join(root, b"modes", b"strangers")
    open(path, "wb").close()
    os.chown(path, 4000000000, 65533)

for at, nanos in enumerate([0, 1, -1, 1_700_000_000_123_456_789, 1_700_000_000_120_000_000, -2_000_000_000_500_000_000, 4_102_444_800_000_000_001]):
    path = os.path.join(root, b"times", b"%d" % at)
    open(path, "wb").close()
    os.utime(path, ns=(nanos, nanos))

links = os.path.join(root, b"links")
with open(os.path.join(links, b"one"), "wb") as file:
    file.write(b"linked")
os.link(os.path.join(links, b"one"), os.path.join(links, b"two"))
os.symlink(b"one", os.path.join(links, b"soft one"))
os.link(os.path.join(links, b"soft one"), os.path.join(links, b"soft two"), follow_symlinks=False)

attributes = os.path.join(root, b"attributes")
path = os.path.join(attributes, b"file")
open(path, "wb").close()
for name, value in [("user.zeta", b"z"), ("user.alpha", b""), ("user.beta", bytes(range(256))), ("user.é<&>", b"v")]:
    os.setxattr(path, name, value)
folder = os.path.join(attributes, b"folder")
os.mkdir(folder)
os.setxattr(folder, "user.of a folder", b"\0")
if os.geteuid() == 0:
    os.symlink(b"file", os.path.join(attributes, b"link"))
    os.setxattr(os.path.join(attributes, b"link"), "trusted.of a link", b"l", follow_symlinks=False)
    os.setxattr(path, "trusted.t", b"t")
PY
if command -v setfacl >/dev/null; then
  touch "$dir/attributes/acl"
  setfacl -m u:1000:rw,g:1000:r,m::rw "$dir/attributes/acl"
  mkdir -p "$dir/attributes/default acl"
  setfacl -d -m u:1000:rwx "$dir/attributes/default acl"
fi

[[ $restic ]] || exit 0
here=$(cd "$(dirname "$0")/.." && pwd)
repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
export TZ=UTC RESTIC_PASSWORD=fixture RESTIC_REPOSITORY=$repository
"$restic" init -q
"$restic" backup -q --no-cache "$dir"
snapshot=$("$restic" --no-cache snapshots --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
rm -f "$here"/src/vault/tree/testdata/*.json
for folder in names kinds modes times links attributes; do
  "$restic" --no-cache cat tree "$snapshot:$dir/$folder" >"$here/src/vault/tree/testdata/$folder.json"
done
sha256sum "$here"/src/vault/tree/testdata/*.json
