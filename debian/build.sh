#!/bin/sh
# Build the Debian packages of the committed and staged files into a directory: build.sh DIRECTORY
# Debian's own tools and Python come first: others in PATH would shadow them.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
tree=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
result=$(cd "$1" && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
dpkg-checkbuilddeps "$tree/debian/control" || {
    echo "install what the packages are built with: apt build-dep $tree" >&2
    exit 1
}
version=$(dpkg-parsechangelog -l "$tree/debian/changelog" -S Version)
source=$room/conntrack-plugins-$version
mkdir "$source"
# The log is only of interest when it fails.
(cd "$tree" && git ls-files -z | tar --null -cf - -T -) | tar -xf - -C "$source"
if ! (cd "$source" && dpkg-buildpackage -us -uc) >"$room/log" 2>&1; then
    cat "$room/log" >&2
    exit 1
fi
find "$room" -maxdepth 1 -type f -name 'conntrack-plugins*' -exec mv -t "$result" {} +
ls "$result"/*.deb
