#!/bin/sh
# One picture to a .nic file and back: examples/one_picture.sh photo.jpg
set -e
name=$(basename "$1" | sed 's/\.[^.]*$//')
nicodec encode "$1" -o "$name.nic" -q 50
nicodec info -v "$name.nic"
nicodec decode "$name.nic" -o "$name-decoded.png"
