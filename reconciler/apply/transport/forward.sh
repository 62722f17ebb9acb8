begin() {
case $2 in localhost:*)
    display=127.0.0.1:$((${2#localhost:} - 5900)) found=
    for file in $(printf %s "$display" | grep -lszFx -f - /proc/[0-9]*/cmdline); do
        directory=$(tr '\0' '\n' < "$file" | sed -n 's|^\(/var/lib/reconciler/vms/[0-9]*\)/qemu[.]pid$|\1|p')
        user=$(stat -c %u -- "$file") group=$(stat -c %g -- "$directory" 2> /dev/null) || group=
        case $user in "$(id -u)" | "$group") found=yes ;; esac
    done
    [ -n "$found" ] || { echo "no VM has the VNC port $2"; exit 1; } ;;
esac
exec perl -MSocket -e '
    my ($there) = @ARGV;
    my $port = $there =~ /^localhost:([0-9]+)$/ ? $1 : 0;
    my $address = $port ? sockaddr_in($port, INADDR_LOOPBACK) : sockaddr_un($there);
    socket(my $socket, $port ? PF_INET : PF_UNIX, SOCK_STREAM, 0) or die "$there: $!\n";
    connect($socket, $address) or die "$there: $!\n";
    sub carry {
        my ($from, $to) = @_;
        while (sysread($from, my $piece, 65536)) {
            while (length($piece)) { substr($piece, 0, syswrite($to, $piece) || return) = ""; }
        }
    }
    syswrite(STDOUT, "reconciler: ready\n");
    open(STDERR, ">", "/dev/null");
    my $receiving = $$;
    my $sending = fork() // die;
    if ($sending) { carry($socket, *STDOUT); kill("KILL", $sending); exit; }
    carry(*STDIN, $socket);
    shutdown($socket, 1);
    sleep(5);
    kill("KILL", $receiving) if getppid() == $receiving;
' "$2"
}
begin "$@"; exit
