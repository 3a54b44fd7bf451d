#!/bin/sh
# sources.sh SUITE DAY: take packages from Debian's snapshot of a day from here on; without DAY the base's own sources stay.
# The archive's address is the one that the official base names in a comment above its own sources. Without TLS, since the base has no
# certificates yet: apt checks signatures. A snapshot's Release files have run out by design.
set -eu
[ -n "$2" ] || exit 0
archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | sed -n 's|^# *\(http.*/archive/\)debian/[0-9TZ]*.*|\1|p' | head -n 1)
if [ -z "$archive" ]; then
  printf 'wanted: a base whose apt sources name a snapshot archive\n found: none\n where: /etc/apt/sources.list*\n  next: PINTUNE_SNAPSHOT=off\n' >&2
  exit 1
fi
rm -f /etc/apt/sources.list.d/*
cat >/etc/apt/sources.list <<END
deb [check-valid-until=no] ${archive}debian/$2 $1 main
deb [check-valid-until=no] ${archive}debian/$2 $1-updates main
deb [check-valid-until=no] ${archive}debian-security/$2 $1-security main
END
