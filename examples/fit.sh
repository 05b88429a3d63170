#!/bin/sh
# The best file of at most 100 kB, for a form that takes no more: examples/fit.sh photo.jpg
set -e
name=$(basename "$1" | sed 's/\.[^.]*$//')
nicodec encode "$1" -o "$name.nic" --target-size 100KB
