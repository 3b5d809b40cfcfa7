# SPDX-License-Identifier: GPL-2.0
# Sourced by every script here: where things are, and how to say what happens.
# shellcheck shell=bash disable=SC2034	# the variables are for the scripts that source this

set -euo pipefail
export LC_ALL=C

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BASE=${BASE:-6.12}
OUT=$ROOT/out
B=$OUT/$BASE			# everything made for this base kernel
EDITS=$ROOT/edits/$BASE		# our changes to existing files
LINUX=$B/linux			# the source with the series in it: what gets built
PRISTINE=$B/base/linux		# the same, untouched
LOG=$OUT/log
DATE="@1735689600 +0000"		# of every commit we make, so that bytes repeat
mkdir -p "$B" "$LOG"

case $ROOT in
*[[:space:],]*) printf 'No space and no comma, please, in the path of this directory: %s\n' "$ROOT" >&2; exit 1 ;;
esac

say() { printf '%s\n' "$*"; }
die() { printf '\n%s: %s\n' "${0#"$ROOT"/}" "$*" >&2; exit 1; }

# step TITLE LOGFILE COMMAND...: one line with the time it took; on failure the log's tail
step() {
	local title=$1 log=$2 start=$SECONDS
	shift 2
	printf '  %-52s ' "$title"
	if "$@" > "$log" 2>&1 < /dev/null; then
		printf '%4d s\n' $((SECONDS - start))
		return
	fi
	printf 'FAILED after %d s\n\n' $((SECONDS - start))
	tail -n "${TAIL:-25}" "$log" | sed 's/^/    /'
	printf '\nThe whole log: %s\n' "${log#"$PWD"/}" >&2
	return 1
}

# need_gb N WHAT: an early, clear end instead of a half-written tree
need_gb() {
	local free
	free=$(df -Pk "$OUT" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$free" -ge "$1" ] || die "$2 needs $1 GB in $OUT, but only $free GB are free there." \
		"Make room (\`make clean\` removes all of out/), or put out/ on a larger disk with a symlink."
}

# lock FILE: only one of us at a time; released when the script ends
lock() {
	exec 9> "$1"
	flock -n 9 || { say "  waiting for another run to release ${1#"$ROOT"/}"; flock 9; }
}

# The repository's new files: everything in a directory that Linux has as well
new_files() {
	local dirs=() d
	for d in "$ROOT"/*/; do
		d=$(basename "$d")
		[ "$d" != out ] && [ -d "$PRISTINE/$d" ] && dirs+=("$d")
	done
	[ ${#dirs[@]} -gt 0 ] || return 0
	git -C "$ROOT" ls-files -co --exclude-standard -- "${dirs[@]}" | sort -u |
		while read -r d; do [ -e "$ROOT/$d" ] && printf '%s\n' "$d"; done || :
}

# The edits in the order they apply: backports first
edit_files() {
	find "$EDITS" -name 'backport-*.patch' 2>/dev/null | sort
	find "$EDITS" -name '[0-9]*.patch' 2>/dev/null | sort
}

# The existing files that edits touch (a new file in an edit is an error elsewhere)
edited_files() {
	edit_files | xargs -r sed -n 's,^--- a/\([^\t]*\).*,\1,p' | sort -u
}

# NNNN-slug of every patch of the series: those with a message and those with an edit
slugs() {
	find "$ROOT/series" "$EDITS" \( -name '[0-9]*.txt' -o -name '[0-9]*.patch' \) 2>/dev/null |
		sed 's,.*/,,; s,\.[a-z]*$,,' | grep -v '^0000-' | sort -u || :
}

# clean_git ARGUMENT...: git as on every other machine, whatever the user's configuration
clean_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git "$@"
}

added_by() {	# the New: lines of a patch
	[ ! -e "$ROOT/series/$1.txt" ] || sed -n 's/^New: *//p' "$ROOT/series/$1.txt"
}

# apply DIR PATCH: offsets are fine, fuzz is not. With REJECT set what fits is applied.
apply() {
	if [ -n "${REJECT:-}" ] && ! clean_git -C "$1" apply --check "$2" 2> /dev/null; then
		say "${2#"$ROOT"/} does not fit linux-source-$BASE; rejected hunks:"
		clean_git -C "$1" apply --reject --whitespace=nowarn "$2" 2>&1 |
			sed -n 's/^Rejected/  &/p; s/^error: patch/  patch/p' || :
		git -C "$1" add -u
		return
	fi
	clean_git -C "$1" apply --index --whitespace=nowarn "$2" ||
		die "${2#"$ROOT"/} does not fit this linux-source-$BASE (the lines above say where)." \
		"Mend it: \`make tree\`, put the hunks of the *.rej files into their commits in" \
		"out/$BASE/git (git rebase -i base), remove those files, \`make harvest\`."
}

# pristine_files DIR FILE...: these files as the base kernel has them, in DIR's index
pristine_files() {
	local dir=$1
	shift
	[ $# -gt 0 ] || return 0
	(cd "$PRISTINE" && cp --parents -t "$dir" -- "$@") ||
		die "an edit changes a file that linux-source-$BASE does not have (new files go into the repository at their own path)"
	git -C "$dir" add -f -- "$@"
}

# message FILE: a commit message without what only we need
message() {
	sed "/^New: /d" "$1"
}

# The message at the top of a backport-*.patch
backport_message() {
	sed '/^diff --git /,$d' "$1"
}

# init_git DIR: an empty repository whose diffs name C functions, as Linux' .gitattributes has it
init_git() {
	clean_git init -q -b series "$1"
	say '*.[ch] diff=cpp' > "$1/.git/info/attributes"
	git -C "$1" config core.hooksPath /dev/null
}

# make_git DIR: the series as a git repository, one commit per patch after the tag
# "base", holding only the files of the series. The same bytes every time.
make_git() {
	local dir=$1 patch slug
	local -a edited new

	rm -rf "$dir"
	init_git "$dir"
	git -C "$dir" config user.name "$(git -C "$ROOT" config user.name || say package counters)"
	git -C "$dir" config user.email "$(git -C "$ROOT" config user.email || say package-counters@localhost)"

	commit() {
		GIT_AUTHOR_DATE=$DATE GIT_COMMITTER_DATE=$DATE \
			clean_git -C "$dir" commit -q --allow-empty --cleanup=whitespace -F -
	}

	mapfile -t edited < <(edited_files)
	pristine_files "$dir" "${edited[@]}"
	say "The files of linux-source-$BASE that the series changes" | commit
	git -C "$dir" tag base

	for patch in "$EDITS"/backport-*.patch; do
		[ -e "$patch" ] || continue
		apply "$dir" "$patch"
		backport_message "$patch" | commit
	done
	for slug in $(slugs); do
		mapfile -t new < <(added_by "$slug")
		if [ ${#new[@]} -gt 0 ]; then
			(cd "$ROOT" && cp -p --parents -t "$dir" -- "${new[@]}") ||
				die "series/$slug.txt names a new file that is not there"
			git -C "$dir" add -f -- "${new[@]}"
		fi
		[ ! -e "$EDITS/$slug.patch" ] || apply "$dir" "$EDITS/$slug.patch"
		if [ -e "$ROOT/series/$slug.txt" ]; then
			message "$ROOT/series/$slug.txt"
		else
			say "$slug: (no message yet)"
		fi | commit
	done
}
