#!/bin/sh
# Gives a host its own accounts in /etc: those of the machine, and one that may run as root what SUDOERS allows.
# The machine's files are copied and covered by a mount, never written. Called by host.sh in the new root, before it is entered.
#   accounts.sh NAME SUDOERS
set -eu
name=$1 sudoers=$2
own=run/lab/etc
user=reconciler id=60990

mkdir -m 755 "$own" "$own/sudoers.d"
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
cp "$sudoers" "$own/sudoers.d/$user"
chmod 644 "$own/passwd" "$own/group" "$own/hosts"
chmod 440 "$own/sudoers" "$own/sudoers.d/$user"

for file in passwd group shadow hosts sudoers sudoers.d; do
    mount --bind "$own/$file" "etc/$file"
done
mkdir -m 755 home
install -d -m 700 -o "$id" -g "$id" "home/$user"
