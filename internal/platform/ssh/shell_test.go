package ssh

import "testing"

func TestStartsShell(t *testing.T) {
	for command, want := range map[string]bool{
		"sudo -i": true, "sudo -n -i": true, "sudo -iu root": true, "sudo -u root -i": true, "sudo -uroot -s": true,
		"sudo -nsu root": true,
		"doas -n -s":     true, "sudo --user root --login": true, "sudo --user=root --log": true, "sudo -u root bash": true,
		"env -Sbash": true, "flock /tmp/l -cbash": true, "flock /tmp/l -c/bin/sh": true, "runuser -l deploy": true,
		"su":               true,
		"machinectl shell": true, "ssh localhost": true, "/usr/bin/ssh db": true, "env -S bash": true,

		"sudo systemctl restart app": false, "sudo -n systemctl status app -s": false,
		"sudo -u intern /usr/bin/backup -i": false,
		"sudo -uis /usr/bin/backup":         false, "doas -u simon /usr/bin/backup": false,
		"sudo --user root /usr/bin/backup --login": false,
		"/usr/bin/backup -s -i":                    false, "machinectl list": false, "ls -la": false, "/usr/bin/sh /opt/x.sh": false,
	} {
		if got := startsShell(command); got != want {
			t.Errorf("%q: %t, want %t", command, got, want)
		}
	}
}
