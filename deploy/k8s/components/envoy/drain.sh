#!/bin/bash
# Kubelet runs this before it ends Envoy, which by itself would cut every connection at once.
# Each caller is told with its next answer to connect anew, and so comes to another Envoy: a pod that ends is no
# endpoint of its Service any more. Ends when nobody is left, or after 45 seconds.
#
# drain.sh [ADMIN_PORT]
set -u
port=${1:-9901}

# METHOD PATH: Envoy's answer. The image has bash, but no program that speaks HTTP.
ask() {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s %s HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1" "$2" >&3
    cat <&3
    exec 3>&-
}

deserted() {
    ask GET '/stats?filter=http.public.downstream_cx_active' | grep -q 'downstream_cx_active: 0'
}

ask POST '/drain_listeners?graceful&skip_exit' >/dev/null
sleep 5 # until every node has heard that no new connection may come here
while ((SECONDS < 45)) && ! deserted; do
    sleep 1
done
