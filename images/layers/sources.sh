#!/bin/sh
# sources.sh SUITE DAY: install packages from Debian's snapshot of a day; without DAY the base's own sources are kept.
# The official base names the archive's address in a comment of its sources. It is read without TLS, since the base has no
# certificates yet: apt checks signatures. The Release files of a snapshot have expired by design.
set -eu
[ -n "$2" ] || exit 0
archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
  sed -n 's|^# *\(http.*/archive/\)debian/[0-9TZ]*.*|\1|p' | head -n 1)
if [ -z "$archive" ]; then
  printf '%s\n' 'wanted: a base whose apt sources name a snapshot archive' ' found: none' \
    ' where: /etc/apt/sources.list*' '  next: PINTUNE_SNAPSHOT=off' >&2
  exit 1
fi
rm -f /etc/apt/sources.list.d/*
cat >/etc/apt/sources.list <<END
deb [check-valid-until=no] ${archive}debian/$2 $1 main
deb [check-valid-until=no] ${archive}debian/$2 $1-updates main
deb [check-valid-until=no] ${archive}debian-security/$2 $1-security main
END
