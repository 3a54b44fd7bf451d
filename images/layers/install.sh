#!/bin/sh
# install.sh [--download] LIST…: install the Debian packages of these lists (base, cuda, dev, …); remove caches and logs.
# The variable PYTHON replaces @PYTHON@. If the build context `debs` has packages of `invoke wheelhouse`, the network is not
# used. With --download the packages and all their dependencies are only stored, in /offline/debs.
set -eu
here=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
download=
if [ "$1" = --download ]; then download=yes; shift; fi
packages=$(for list in "$@"; do sed "s/#.*//; s/@PYTHON@/$PYTHON/" "$here/$list.txt"; done)
if [ -n "$download" ]; then
  mkdir -p /offline/debs/archives/partial
  apt-get update -qq
  cp -r /var/lib/apt/lists /offline/debs/lists
  # with an empty status file nothing counts as installed, so that a base of another day finds everything that it lacks
  touch /tmp/none
  # shellcheck disable=SC2086 # words are meant to split
  apt-get install -y -qq --no-install-recommends --download-only \
    -o Dir::State::status=/tmp/none -o Dir::Cache::archives=/offline/debs/archives \
    -o APT::Keep-Downloaded-Packages=true $packages
  for folder in archives lists; do rm -rf "/offline/debs/$folder/partial" "/offline/debs/$folder/lock"; done
  rm /tmp/none
  exit
fi
option=
if [ -d /debs/lists ]; then
  cp -r /debs/lists/. /var/lib/apt/lists/
  mkdir -p /var/cache/apt/archives/partial
  cp /debs/archives/*.deb /var/cache/apt/archives/
  option=--no-download
else
  apt-get update -qq
fi
# shellcheck disable=SC2086 # words are meant to split
apt-get install -y -qq --no-install-recommends $option $packages
for list in "$@"; do
  # shellcheck disable=SC2046 # patterns are meant to expand
  [ ! -f "$here/$list.remove" ] || rm -f $(sed 's/#.*//' "$here/$list.remove")
done
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /usr/share/man/* /usr/share/info/* /usr/share/locale/*
rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old \
  /var/log/apt /var/log/*.log /var/log/lastlog /var/log/faillog
find / -xdev -type f -perm /6000 -exec chmod a-s {} + # nothing in an image needs setuid
