#!/bin/sh
# An outside worker of psql alone: worker.sh CONNINFO QUEUE. Its connection is the lease, so that what it has is somebody else's as soon as
# it is gone. The job runs as a command: what that prints is the result, unless it fails.
set -u
stopping=
trap 'stopping=1' TERM

handle()
{
	case $1 in
		*'"sleep"'*) sleep 1 ;;
	esac
	case $1 in
		*'"fail"'*) echo 'as asked' >&2; return 1 ;;
		*) echo '{"hello": "world", "by": "psql"}' ;;
	esac
}

to=$(mktemp -d)
mkfifo "$to/in" "$to/out"
psql -XAtq -v ON_ERROR_STOP=1 -F '	' "$1" < "$to/in" > "$to/out" &
psql=$!
exec 3> "$to/in" 4< "$to/out"
rm -r "$to"
# what is asked is answered by lines up to a last one, "."
ask()
{
	printf '%s\n\\echo .\n' "$1" >&3
	answer=
	while read -r line <&4 && [ "$line" != . ]; do
		answer=$line
	done
	[ "${line:-}" = . ]
}
quoted()
{
	printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}

while [ -z "$stopping" ] && ask "SELECT token, args FROM unrdf.claim(ARRAY[$(quoted "$2")], 1, lease => NULL, wait => '1 s');"; do
	[ -n "$answer" ] || continue
	token=${answer%%	*}
	if result=$(handle "${answer#*	}" 2>&1); then
		ask "SELECT unrdf.complete($token::bigint, $(quoted "$result"));"
	else
		ask "SELECT unrdf.fail($token::bigint, $(quoted "$result"));"
	fi
done
exec 3>&-
wait "$psql"
