package lab

func serveMain() error { return nil }
