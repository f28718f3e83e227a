package config

import "strings"

// directiveGroup is directives of systemd that are allowed (why is "") or refused
// for one reason. The names are between single spaces, so that a name can be
// looked for with its spaces.
type directiveGroup struct {
	names string
	why   string
}

// unitDirectives are those of [Unit], systemd.unit(5), up to systemd 257.
var unitDirectives = []directiveGroup{ //nolint:gochecknoglobals // a table, never written
	{names: " Documentation Requires Requisite Wants BindsTo Upholds Conflicts Before After PartOf OnSuccess OnFailure" +
		" PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom RequiresMountsFor WantsMountsFor" +
		" StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate IgnoreOnIsolate DefaultDependencies" +
		" OnSuccessJobMode OnFailureJobMode JobTimeoutSec JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument" +
		" StartLimitIntervalSec StartLimitBurst StartLimitAction FailureAction SuccessAction FailureActionExitStatus" +
		" SuccessActionExitStatus RebootArgument CollectMode SurviveFinalKillSignal "},
	{names: " ConditionPathExists ConditionPathExistsGlob ConditionPathIsDirectory ConditionPathIsSymbolicLink" +
		" ConditionPathIsMountPoint ConditionPathIsReadWrite ConditionPathIsEncrypted ConditionDirectoryNotEmpty" +
		" ConditionFileNotEmpty ConditionFileIsExecutable ConditionNeedsUpdate ConditionFirstBoot ConditionArchitecture" +
		" ConditionFirmware ConditionVirtualization ConditionHost ConditionKernelCommandLine ConditionKernelVersion" +
		" ConditionCredential ConditionSecurity ConditionCapability ConditionACPower ConditionMemory ConditionCPUFeature" +
		" ConditionCPUs ConditionEnvironment ConditionUser ConditionGroup ConditionControlGroupController ConditionOSRelease" +
		" ConditionMemoryPressure ConditionCPUPressure ConditionIOPressure "},
	{names: " AssertPathExists AssertPathExistsGlob AssertPathIsDirectory AssertPathIsSymbolicLink AssertPathIsMountPoint" +
		" AssertPathIsReadWrite AssertPathIsEncrypted AssertDirectoryNotEmpty AssertFileNotEmpty AssertFileIsExecutable" +
		" AssertNeedsUpdate AssertFirstBoot AssertArchitecture AssertVirtualization AssertHost AssertKernelCommandLine" +
		" AssertKernelVersion AssertCredential AssertSecurity AssertCapability AssertACPower AssertMemory AssertCPUFeature" +
		" AssertCPUs AssertEnvironment AssertUser AssertGroup AssertControlGroupController AssertOSRelease" +
		" AssertMemoryPressure AssertCPUPressure AssertIOPressure "},
	{" Description ", "is the key description at the top of the file"},
	{" SourcePath ", "is set to this file, so that systemctl status can show it; leave it out"},
	{" JoinsNamespaceOf ", "joins namespaces that systemd makes, and cocker makes the container's; leave it out"},
	{" BindTo PropagateReloadTo PropagateReloadFrom RequiresOverridable RequisiteOverridable OnFailureIsolate StartLimitInterval ",
		"is an obsolete name; see systemd.unit(5) for the new one"},
}

// serviceDirectives are those of [Service]: systemd.service(5), systemd.exec(5),
// systemd.kill(5) and systemd.resource-control(5), up to systemd 257. Allowed are
// those about when the unit starts, stops and restarts, what it may use, where
// its output goes, and directories and commands on the host. Refused are those
// that would break the container, or look as if they did something.
var serviceDirectives = []directiveGroup{ //nolint:gochecknoglobals // a table, never written
	{names: " ExecCondition ExecStartPre ExecStartPost ExecReload ExecStop ExecStopPost Restart RestartSec RestartSteps" +
		" RestartMaxDelaySec RestartMode RestartPreventExitStatus RestartForceExitStatus SuccessExitStatus RemainAfterExit" +
		" TimeoutSec TimeoutStartSec TimeoutStopSec TimeoutAbortSec TimeoutCleanSec TimeoutStartFailureMode" +
		" TimeoutStopFailureMode RuntimeMaxSec RuntimeRandomizedExtraSec OOMPolicy Slice "},
	{names: " Nice OOMScoreAdjust CoredumpFilter CoredumpReceive IOSchedulingClass IOSchedulingPriority CPUSchedulingPolicy" +
		" CPUSchedulingPriority CPUSchedulingResetOnFork CPUAffinity NUMAPolicy NUMAMask TimerSlackNSec LimitCPU LimitFSIZE" +
		" LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING" +
		" LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME "},
	{names: " StandardOutput StandardError SyslogIdentifier SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax" +
		" LogRateLimitIntervalSec LogRateLimitBurst LogExtraFields LogFilterPatterns "},
	{names: " RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve StateDirectory StateDirectoryMode CacheDirectory" +
		" CacheDirectoryMode LogsDirectory LogsDirectoryMode ConfigurationDirectory ConfigurationDirectoryMode "},
	{names: " SetCredential SetCredentialEncrypted LoadCredential LoadCredentialEncrypted ImportCredential "},
	{names: " AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes CPUAccounting CPUWeight" +
		" StartupCPUWeight CPUQuota CPUQuotaPeriodSec MemoryAccounting MemoryMin DefaultMemoryMin MemoryLow StartupMemoryLow" +
		" DefaultMemoryLow DefaultStartupMemoryLow MemoryHigh StartupMemoryHigh MemoryMax StartupMemoryMax MemorySwapMax" +
		" StartupMemorySwapMax MemoryZSwapMax StartupMemoryZSwapMax MemoryZSwapWriteback MemoryKSM MemoryPressureWatch" +
		" MemoryPressureThresholdSec ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit" +
		" ManagedOOMMemoryPressureDurationSec ManagedOOMPreference TasksAccounting TasksMax IOAccounting IOWeight" +
		" StartupIOWeight IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax" +
		" IODeviceLatencyTargetSec IPAccounting IPAddressAllow IPAddressDeny IPIngressFilterPath IPEgressFilterPath" +
		" BPFProgram SocketBindAllow SocketBindDeny RestrictNetworkInterfaces NFTSet "},
	{" Type NotifyAccess ExitType PIDFile BusName GuessMainPID ", "is how systemd follows the container's PID 1, which cocker sets; leave it out (notify_ready is about readiness)"},
	{" ExecStart ", "is cocker's launcher; set command to what the container runs"},
	{" User Group SupplementaryGroups DynamicUser ", "would apply to cocker's launcher, which needs root; set user"},
	{" WorkingDirectory ", "is about the host; set workdir"},
	{" Environment EnvironmentFile PassEnvironment UnsetEnvironment SetLoginEnvironment ", "does not reach the container; use [environment]"},
	{" KillMode SendSIGHUP SendSIGKILL FinalKillSignal RestartKillSignal ", "is set so that the container's init can stop its processes in order; leave it out"},
	{" KillSignal ", "is set by cocker; set stop_signal"},
	{" WatchdogSec WatchdogSignal ", "is about systemd's watchdog, which the container does not reach; use [health]"},
	{" Delegate DelegateSubgroup DisableControllers ", "is about the container's own cgroup tree, which cocker arranges; leave it out"},
	{" DeviceAllow DevicePolicy ", "is set by cocker: a container may use no device but the harmless ones; give it more with [[device]]"},
	{" StandardInput StandardInputText StandardInputData TTYPath TTYReset TTYVHangup TTYVTDisallocate TTYRows TTYColumns ",
		`does not reach the container, which has no terminal as a unit; use "cocker run -it" for one`},
	{" Sockets NonBlocking FileDescriptorStoreMax FileDescriptorStorePreserve OpenFile USBFunctionDescriptors USBFunctionStrings ",
		"passes file descriptors, and a container gets none; publish a port in [network]"},
	{" UMask IgnoreSIGPIPE PAMName UtmpIdentifier UtmpMode RemoveIPC KeyringMode ", "would apply to cocker's launcher, not to the container; leave it out"},
	{" ReloadSignal ", "works only with a Type= that cocker does not use; use ExecReload"},
	{" StartLimitInterval StartLimitBurst StartLimitAction FailureAction RebootArgument ", "is an old spelling in this section; use it in [unit], see systemd.unit(5)"},
	{" PermissionsStartOnly RootDirectoryStartOnly ", "is obsolete; leave it out"},
	{" CPUShares StartupCPUShares ", "is obsolete; use CPUWeight"},
	{" MemoryLimit ", "is obsolete; use MemoryMax"},
	{" BlockIOAccounting BlockIOWeight StartupBlockIOWeight BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth ",
		"is obsolete; use the IO directive of the same meaning"},
	{" RootDirectory RootImage RootImageOptions RootImagePolicy RootHash RootHashSignature RootVerity RootEphemeral" +
		" ExtensionDirectories ExtensionImages ExtensionImagePolicy MountImages MountImagePolicy ",
		"is what images are for; set image or images"},
	{" ReadWritePaths ReadOnlyPaths InaccessiblePaths ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories" +
		" ExecPaths NoExecPaths ExecSearchPath BindPaths BindReadOnlyPaths BindLogSockets TemporaryFileSystem MountFlags MountAPIVFS ",
		"is about the host's file system; use [[mount]]"},
	{" NetworkNamespacePath PrivateNetwork ", "is about the host's side; set network.mode"},
	{" PrivateTmp PrivateDevices PrivateUsers PrivateMounts PrivateIPC PrivatePIDs IPCNamespacePath LogNamespace ProtectProc" +
		" ProcSubset ProtectSystem ProtectHome ProtectHostname ProtectClock ProtectControlGroups ProtectKernelTunables" +
		" ProtectKernelModules ProtectKernelLogs CapabilityBoundingSet AmbientCapabilities SecureBits NoNewPrivileges" +
		" SystemCallFilter SystemCallArchitectures SystemCallErrorNumber SystemCallLog MemoryDenyWriteExecute" +
		" RestrictNamespaces RestrictRealtime RestrictSUIDSGID RestrictAddressFamilies RestrictFileSystems LockPersonality" +
		" Personality SELinuxContext AppArmorProfile SmackProcessLabel ",
		"would confine cocker's launcher, which has to make the container's namespaces and mounts, and the container is confined already; leave it out"},
}

// directiveName finds what key means in one of the groups: a directive as
// systemd spells it, or in lower case with or without "_". The why is "" for an
// allowed one. Unknown: name is "".
func directiveName(key string, groups []directiveGroup) (name, why string) {
	for _, g := range groups {
		if key != "" && !strings.Contains(key, " ") && strings.Contains(g.names, " "+key+" ") {
			return key, g.why
		}
	}
	if key != strings.ToLower(key) {
		return "", ""
	}
	folded := foldDirective(key)
	for _, g := range groups {
		for name := range strings.FieldsSeq(g.names) {
			if len(name) == len(folded) && strings.ToLower(name) == folded {
				return name, g.why
			}
		}
	}
	return "", ""
}

// foldDirective makes the spellings of one directive equal.
func foldDirective(key string) string {
	return strings.ToLower(strings.ReplaceAll(key, "_", ""))
}

// allNames lists the allowed directives, for a suggestion.
func allNames(groups []directiveGroup) []string {
	var names []string
	for _, g := range groups {
		if g.why == "" {
			names = append(names, strings.Fields(g.names)...)
		}
	}
	return names
}
