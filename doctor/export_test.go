// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"time"

	"github.com/mab-build/mab/manifestlist"
)

// Part is part.
type Part = part

// NewPart makes one.
func NewPart(name string, limit time.Duration, look func(context.Context) []Check) Part {
	return part{name, limit, look}
}

// The judges and probes by themselves.
var (
	ExamineParts    = examine
	CountKeys       = countKeys
	JudgeGit        = judgeGit
	AskEngine       = askEngine
	EngineAddresses = engineAddresses
)

// JudgeRegistry is judgeRegistry.
func JudgeRegistry(host string, reached manifestlist.Reached, err error) Check {
	return judgeRegistry(answer{host, reached, err})
}

// JudgeClock is judgeClock after the registries told by how much this machine is ahead.
func JudgeClock(now, built, newest time.Time, ahead map[string]time.Duration) Check {
	c := clock{now: now, built: built, newest: newest}
	for host, by := range ahead {
		c.compare(host, &by)
	}
	c.compare("silent.example", nil)
	return judgeClock(c)
}

// JudgeAgent is judgeAgent.
func JudgeAgent(socket string, keys int, err error) Check {
	return judgeAgent(agent{socket, keys, err})
}

// Engine is engine.
type Engine = engine

// NewEngine makes one.
func NewEngine(address, name, version string, err error) Engine {
	return engine{address, name, version, err}
}

// JudgeEngine is judgeEngine.
var JudgeEngine = judgeEngine
