package solver

func (f *Failure) DiskFull() bool { return false }
func (f *Failure) PushUnreachable() bool { return false }
func (f *Failure) SourceUnreachable() bool { return false }
func (f *Failure) EmulatorCrashed() bool { return false }
