#!/bin/sh
# sources.sh SUITE DATE: take packages from the snapshot of a day from here on; without DATE the base's own sources stay.
# Without TLS, since the base has no certificates yet: apt checks signatures. A snapshot's Release files have run out by design.
set -eu
[ -n "$2" ] || exit 0
rm -f /etc/apt/sources.list.d/*
archive=http://snapshot.debian.org/archive
cat >/etc/apt/sources.list <<END
deb [check-valid-until=no] $archive/debian/$2 $1 main
deb [check-valid-until=no] $archive/debian/$2 $1-updates main
deb [check-valid-until=no] $archive/debian-security/$2 $1-security main
END
