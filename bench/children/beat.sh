#!/bin/sh
# beat FIFO NAME [deaf] [ready]: as beat.c, for a machine without a C compiler. /proc/uptime counts hundredths.
read -r up _ </proc/uptime
case " $* " in *" deaf "*) trap '' TERM ;; esac
echo "${up%.*}${up#*.}0000000 $$ $2" >"$1"
case " $* " in *" ready "*) echo >&3 ;; esac
exec sleep 1000000
