package provider

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// processStart says when a process started.
func processStart(pid int) (string, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return "", err
	}
	defer func() { _ = windows.CloseHandle(process) }()
	var created, exited, kernel, user windows.Filetime
	err = windows.GetProcessTimes(process, &created, &exited, &kernel, &user)
	return fmt.Sprint(created.Nanoseconds()), err
}
