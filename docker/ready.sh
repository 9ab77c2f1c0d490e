#!/bin/bash
# Ends with 0 when GET http://127.0.0.1:PORT/PATH answers 200: `ready 8090 /readyz`. Of the shell alone, so that the image
# needs no HTTP client.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r _ status _ <&3
if [ "$status" != 200 ]; then
    sed '1,/^\r$/d' <&3
    exit 1
fi
