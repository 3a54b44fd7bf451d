#!/bin/sh
# install.sh [--download] LIST…: install the Debian packages of these lists (base, cuda, dev, …) and leave nothing else behind.
# PYTHON fills in @PYTHON@. Where the build context `debs` has what `invoke wheelhouse` gathered, no network is used.
# With --download they go into /carried/debs instead, with all that they need, whatever is installed here.
set -eu
here=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
download=
if [ "$1" = --download ]; then download=yes; shift; fi
packages=$(for list in "$@"; do sed "s/#.*//; s/@PYTHON@/$PYTHON/" "$here/$list.txt"; done)
if [ -n "$download" ]; then
  mkdir -p /carried/debs/archives/partial
  apt-get update -qq
  cp -r /var/lib/apt/lists /carried/debs/lists
  # nothing counts as installed, so that a base of another day finds all it may lack
  touch /tmp/none
  # shellcheck disable=SC2086 # words are meant to split
  apt-get install -y -qq --no-install-recommends --download-only \
    -o Dir::State::status=/tmp/none -o Dir::Cache::archives=/carried/debs/archives -o APT::Keep-Downloaded-Packages=true $packages
  rm -rf /carried/debs/archives/partial /carried/debs/archives/lock /carried/debs/lists/partial /carried/debs/lists/lock /tmp/none
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
  # shellcheck disable=SC2046 # patterns are meant to match
  [ ! -f "$here/$list.remove" ] || rm -f $(sed 's/#.*//' "$here/$list.remove")
done
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /usr/share/man/* /usr/share/info/* /usr/share/locale/*
rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old \
  /var/log/apt /var/log/*.log /var/log/lastlog /var/log/faillog
find / -xdev -type f -perm /6000 -exec chmod a-s {} + # nothing here is to become another user
