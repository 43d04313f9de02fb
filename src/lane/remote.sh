# The functions at the other end of a lane, sent once when it opens. POSIX sh; holds on dash, bash and busybox ash.
# Everything here starts with _pv_, so that it cannot meet the operator's own names.
case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH ;; esac
unset CDPATH
[ -r . ] && [ -x . ] || cd /
_pv_id=$(LC_ALL=C id)
_pv_uid=${_pv_id#uid=} _pv_uid=${_pv_uid%%[!0-9]*}
_pv_gid=${_pv_id#*gid=} _pv_gid=${_pv_gid%%[!0-9]*}

_pv_hello() {
  LC_ALL=C; export LC_ALL
  printf 'pid %s\n' "$$"
  if [ -r "/proc/$$/stat" ]; then
    IFS= read -r _pv_l <"/proc/$$/stat"
    set -- ${_pv_l##*) }
    printf 'pgid %s\n' "$3"
  else
    printf 'pgid %s\n' "$(ps -o pgid= -p "$$" | tr -d ' ')"
  fi
  printf 'home %s\nid %s\nuname %s\n' "$HOME" "$_pv_id" "$(uname -snrm)"
  printf 'shell %s|%s|%s\n' "$BASH_VERSION" "$ZSH_VERSION" "$KSH_VERSION"
  printf 'printf %s\n' "$(command -v printf)"
  printf 'stat %s\n' "$(stat -c '%u %g ok' / 2>&1 | head -n 1)"
  case $(stat --version 2>&1) in *BusyBox*) printf 'dialect busybox\n' ;; *) printf 'dialect gnu\n' ;; esac
  [ -d /run/systemd/system ] && printf 'systemd yes\n'
  for _pv_l in apk apt-get base64 curl dnf docker dpkg-query emerge find gpg nft opkg pacman perl python3 rc-service \
    rpm sha256sum sudo systemctl tar timeout ufw wget xbps-install yum zypper; do
    command -v "$_pv_l" >/dev/null 2>&1 && printf 'tool %s\n' "$_pv_l"
  done
  for _pv_f in /etc/os-release /usr/lib/os-release; do
    [ -r "$_pv_f" ] || continue
    while IFS= read -r _pv_l || [ -n "$_pv_l" ]; do printf 'os %s\n' "$_pv_l"; done <"$_pv_f"
    break
  done
}

# Ends a process group for good: asks, waits up to 1 s, insists.
_pv_end() {
  kill -TERM "-$1" 2>/dev/null || return 0
  for _pv_i in 1 2 3 4 5; do
    kill -0 "-$1" 2>/dev/null || return 0
    sleep 0.2 2>/dev/null || sleep 1
  done
  kill -KILL "-$1" 2>/dev/null
  return 0
}

# $1 follow (0 or 1), $2 path → _pv_k: + there, - absent, p no permission to look, d a parent is not a directory
_pv_at() {
  _pv_k=+
  [ -e "$2" ] && return
  [ "$1" = 0 ] && [ -L "$2" ] && return
  _pv_p=$2
  _pv_k=-
  while :; do
    case $_pv_p in
      / | '') return ;;
      */*) _pv_p=${_pv_p%/*}; [ -n "$_pv_p" ] || _pv_p=/ ;;
      *) _pv_p=. ;;
    esac
    if [ -d "$_pv_p" ]; then
      [ -x "$_pv_p" ] || _pv_k=p
      return
    elif [ -e "$_pv_p" ]; then
      _pv_k=d
      return
    fi
    [ "$_pv_p" = . ] && return
  done
}

# $1 follow, then paths → for each: its letter, the target if it is a link and not followed, NUL
_pv_look() {
  _pv_w=$1; shift
  for _pv_f; do
    _pv_at "$_pv_w" "$_pv_f"
    printf %s "$_pv_k"
    [ "$_pv_w" = 0 ] && [ -L "$_pv_f" ] && readlink -n -- "$_pv_f"
    printf '\0'
  done
}

_pv_stat() { stat -c '%f:%u:%g:%s:%Y:%i:%d:%h:%U:%G:%n' -- "$@" 2>/dev/null; }
_pv_statl() { stat -L -c '%f:%u:%g:%s:%Y:%i:%d:%h:%U:%G:%n' -- "$@" 2>/dev/null; }

# SHA-256 of those paths that are readable regular files: never opens a pipe or a device
_pv_sum() {
  for _pv_f; do
    shift
    [ -f "$_pv_f" ] && [ -r "$_pv_f" ] && set -- "$@" "$_pv_f"
  done
  [ $# -eq 0 ] || sha256sum -- "$@" 2>/dev/null
}

# $1 most bytes, $2 path → its bytes; rc 3 absent, 4 refused with the reason on stdout
_pv_read() {
  _pv_at 1 "$2"
  case $_pv_k in
    -) return 3 ;;
    p) printf 'permission denied'; return 4 ;;
    d) printf 'not a directory'; return 4 ;;
  esac
  if [ -d "$2" ]; then printf 'is a directory'; return 4; fi
  if [ ! -f "$2" ]; then printf 'is not a regular file'; return 4; fi
  if [ ! -r "$2" ]; then printf 'permission denied'; return 4; fi
  head -c "$1" -- "$2"
}

_pv_die() {
  _pv_rc=$1; shift
  [ -z "$_pv_t" ] || rm -f -- "$_pv_t"
  printf '%s\n' "$*" >&2
  exit "$_pv_rc"
}

# $1 name of the temporary file, $2 destination → _pv_d the real destination, _pv_t the temporary file beside it
_pv_where() {
  _pv_d=$2 _pv_t=
  if [ -L "$_pv_d" ]; then
    _pv_d=$(readlink -f -- "$_pv_d" && printf .) || _pv_die 93 "the link $2 leads nowhere"
    _pv_d=${_pv_d%??}
  fi
  case $_pv_d in
    /*/*) _pv_p=${_pv_d%/*} ;;
    /*) _pv_p= ;;
    */*) _pv_p=${_pv_d%/*} ;;
    *) _pv_p=. ;;
  esac
  [ -d "$_pv_p/" ] || _pv_die 93 "the directory $_pv_p does not exist"
  _pv_t=$_pv_p/$1
  [ -d "$_pv_d" ] && _pv_die 93 "$_pv_d is a directory"
  trap 'rm -f -- "$_pv_t"; exit 143' TERM HUP INT
}

_pv_v() { :; }

# Puts what _pv_c prints at a path. Arguments as for _pv_install.
_pv_write() {
  _pv_where "$1" "$2"
  _pv_m=$(umask)
  umask 077
  set -C
  if ! _pv_c >"$_pv_t"; then
    set +C
    # some shells do not say why a builtin could not write; cat does
    [ -f "$_pv_t" ] && _pv_c 2>/dev/null | cat >"$_pv_t"
    _pv_die 94 "could not write the temporary file $_pv_t"
  fi
  set +C
  umask "$_pv_m"
  _pv_put "$@"
}

# The same for a temporary file that is there already, whose SHA-256 must be $8.
_pv_install() {
  _pv_where "$1" "$2"
  [ "$(_pv_digest "$_pv_t")" = "$8" ] || _pv_die 95 "what arrived is not what was sent"
  _pv_put "$@"
}

_pv_digest() {
  _pv_s=$(sha256sum <"$1") && printf %s "${_pv_s%% *}"
}

# $3 mode, $4 owner, $5 group, each '' to keep; $6 what must be there still: any, absent or a SHA-256;
# $7 suffix of the backup or ''. Calls _pv_v, the validation.
_pv_put() {
  _pv_was=
  [ ! -e "$_pv_d" ] || _pv_was=$(stat -c '%a %u %g' -- "$_pv_d") || _pv_die 93 "cannot look at $_pv_d"
  _pv_mode=$3 _pv_own=$4 _pv_grp=$5
  if [ -n "$_pv_was" ]; then
    _pv_q=${_pv_was#* }
    [ -n "$_pv_mode" ] || _pv_mode=${_pv_was%% *}
    if [ -z "$4$5" ] && { [ "${_pv_q% *}" != "$_pv_uid" ] || [ "${_pv_q#* }" != "$_pv_gid" ]; }; then
      # as far as we may: one who writes through a group cannot give the file away
      chown "${_pv_q% *}:${_pv_q#* }" -- "$_pv_t" 2>/dev/null || chgrp "${_pv_q#* }" -- "$_pv_t" 2>/dev/null
    elif [ -n "$4$5" ]; then
      [ -n "$_pv_own" ] || _pv_own=${_pv_q% *}
      [ -n "$_pv_grp" ] || _pv_grp=${_pv_q#* }
    fi
  fi
  [ -n "$_pv_mode" ] || _pv_mode=$(printf %o "$((0666 & ~0$(umask)))")
  if [ -n "$_pv_own$_pv_grp" ]; then
    chown "$_pv_own${_pv_grp:+:$_pv_grp}" -- "$_pv_t" || _pv_die 96 "could not change the owner of $_pv_d"
  fi
  chmod "$_pv_mode" -- "$_pv_t" || _pv_die 96 "could not change the mode of $_pv_d"
  _pv_v >&2 || _pv_die 92 "the new content did not pass its validation; the old file is kept"
  case $6 in
    any) ;;
    absent) [ ! -e "$_pv_d" ] && [ ! -L "$_pv_d" ] || _pv_die 91 "$_pv_d has appeared since it was looked at" ;;
    *) [ "$(_pv_digest "$_pv_d" 2>/dev/null)" = "$6" ] || _pv_die 91 "$_pv_d has changed since it was looked at" ;;
  esac
  if [ -n "$7" ] && [ -n "$_pv_was" ]; then
    cp -p -- "$_pv_d" "$_pv_d$7" || _pv_die 94 "could not keep a backup of $_pv_d"
    printf '%s\n' "$_pv_d$7"
  fi
  mv -f -- "$_pv_t" "$_pv_d" || _pv_die 94 "could not put the new file at $_pv_d"
  _pv_t=
}
