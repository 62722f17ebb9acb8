#!/bin/sh
# Gives a host what a login needs: the keys and settings in SSH, and its own files in ETC, with the accounts of the machine
# and one that may run as root what SSH/sudoers allows. Called in the root of the host, while /etc is the machine's.
#   accounts.sh NAME SSH ETC
set -eu
name=$1 ssh=$2 own=$3
user=reconciler id=60990

mkdir -p "$own" home
for file in passwd group shadow hosts sudoers sudoers.d; do
    [ ! -L "$own/$file" ] || rm "$own/$file" # the machine's; a file of the host is kept, because it may be mounted
done
mkdir -p "$own/sudoers.d"
umask 077
for file in passwd group shadow; do
    grep -v "^$user:" "/etc/$file" > "$own/$file"
done
echo "$user:x:$id:$id::/home/$user:/bin/sh" >> "$own/passwd"
echo "$user:x:$id:" >> "$own/group"
echo "$user:*:20000::::::" >> "$own/shadow" # a star matches no password
printf '%s\n' '127.0.0.1 localhost' "127.0.1.1 $name" > "$own/hosts"
cat > "$own/sudoers" << 'END'
Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Defaults use_pty
root ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
END
cp "$ssh/sudoers" "$own/sudoers.d/$user"
chmod 644 "$own/passwd" "$own/group" "$own/hosts"
chmod 440 "$own/sudoers" "$own/sudoers.d/$user"
install -d -m 700 -o "$id" -g "$id" "home/$user"

for file in "$ssh"/*; do
    install -m 644 "$file" run/lab
done
chmod 600 run/lab/host_key
