package provider

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

// startField is the place of starttime among the fields of /proc/PID/stat that follow the name
// (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
const startField = 22 - 3

// processStart says when a process started, in clock ticks of a boot of this machine.
func processStart(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name may hold spaces and brackets
	if len(fields) <= startField {
		return "", errors.New("the stat of the process has too few fields")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(boot) + fields[startField], err
}
