/**
 * Names of DCE/RPC interfaces and of their operations, as Microsoft's open specifications list them (MS-SAMR,
 * MS-LSAD, MS-SRVS, MS-SCMR, MS-RRP, MS-RPRN, MS-NRPC, MS-DRSR, MS-TSCH, MS-DCOM, MS-WMI, …), in the short
 * form that Zeek logs (`OpenServiceW`, not `ROpenServiceW`). Operations stand in the order of their numbers
 * from `first` on; `-` is a number without a name.
 */

interface Interface {
  name: string
  uuid: string
  first?: number
  operations: string
}

const INTERFACES: Interface[] = [
  {
    name: 'samr',
    uuid: '12345778-1234-abcd-ef00-0123456789ac',
    operations: `SamrConnect SamrCloseHandle SamrSetSecurityObject SamrQuerySecurityObject SamrShutdownSamServer
      SamrLookupDomainInSamServer SamrEnumerateDomainsInSamServer SamrOpenDomain SamrQueryInformationDomain
      SamrSetInformationDomain SamrCreateGroupInDomain SamrEnumerateGroupsInDomain SamrCreateUserInDomain
      SamrEnumerateUsersInDomain SamrCreateAliasInDomain SamrEnumerateAliasesInDomain SamrGetAliasMembership
      SamrLookupNamesInDomain SamrLookupIdsInDomain SamrOpenGroup SamrQueryInformationGroup SamrSetInformationGroup
      SamrAddMemberToGroup SamrDeleteGroup SamrRemoveMemberFromGroup SamrGetMembersInGroup
      SamrSetMemberAttributesOfGroup SamrOpenAlias SamrQueryInformationAlias SamrSetInformationAlias SamrDeleteAlias
      SamrAddMemberToAlias SamrRemoveMemberFromAlias SamrGetMembersInAlias SamrOpenUser SamrDeleteUser
      SamrQueryInformationUser SamrSetInformationUser SamrChangePasswordUser SamrGetGroupsForUser
      SamrQueryDisplayInformation SamrGetDisplayEnumerationIndex SamrTestPrivateFunctionsDomain
      SamrTestPrivateFunctionsUser SamrGetUserDomainPasswordInformation SamrRemoveMemberFromForeignDomain
      SamrQueryInformationDomain2 SamrQueryInformationUser2 SamrQueryDisplayInformation2
      SamrGetDisplayEnumerationIndex2 SamrCreateUser2InDomain SamrQueryDisplayInformation3
      SamrAddMultipleMembersToAlias SamrRemoveMultipleMembersFromAlias SamrOemChangePasswordUser2
      SamrUnicodeChangePasswordUser2 SamrGetDomainPasswordInformation SamrConnect2 SamrSetInformationUser2
      SamrSetBootKeyInformation SamrGetBootKeyInformation SamrConnect3 SamrConnect4 SamrUnicodeChangePasswordUser3
      SamrConnect5 SamrRidToSid SamrSetDSRMPassword SamrValidatePassword SamrQueryLocalizableAccountsInDomain
      SamrPerformGenericOperation - - - SamrUnicodeChangePasswordUser4`,
  },
  {
    name: 'lsarpc',
    uuid: '12345778-1234-abcd-ef00-0123456789ab',
    operations: `LsarClose LsarDelete LsarEnumeratePrivileges LsarQuerySecurityObject LsarSetSecurityObject
      LsarChangePassword LsarOpenPolicy LsarQueryInformationPolicy LsarSetInformationPolicy LsarClearAuditLog
      LsarCreateAccount LsarEnumerateAccounts LsarCreateTrustedDomain LsarEnumerateTrustedDomains LsarLookupNames
      LsarLookupSids LsarCreateSecret LsarOpenAccount LsarEnumeratePrivilegesAccount LsarAddPrivilegesToAccount
      LsarRemovePrivilegesFromAccount LsarGetQuotasForAccount LsarSetQuotasForAccount LsarGetSystemAccessAccount
      LsarSetSystemAccessAccount LsarOpenTrustedDomain LsarQueryInfoTrustedDomain LsarSetInformationTrustedDomain
      LsarOpenSecret LsarSetSecret LsarQuerySecret LsarLookupPrivilegeValue LsarLookupPrivilegeName
      LsarLookupPrivilegeDisplayName LsarDeleteObject LsarEnumerateAccountsWithUserRight LsarEnumerateAccountRights
      LsarAddAccountRights LsarRemoveAccountRights LsarQueryTrustedDomainInfo LsarSetTrustedDomainInfo
      LsarDeleteTrustedDomain LsarStorePrivateData LsarRetrievePrivateData LsarOpenPolicy2 LsarGetUserName
      LsarQueryInformationPolicy2 LsarSetInformationPolicy2 LsarQueryTrustedDomainInfoByName
      LsarSetTrustedDomainInfoByName LsarEnumerateTrustedDomainsEx LsarCreateTrustedDomainEx
      LsarCloseTrustedDomainEx LsarQueryDomainInformationPolicy LsarSetDomainInformationPolicy
      LsarOpenTrustedDomainByName LsarTestCall LsarLookupSids2 LsarLookupNames2 LsarCreateTrustedDomainEx2 CredrWrite
      CredrRead CredrEnumerate CredrWriteDomainCredentials CredrReadDomainCredentials CredrDelete CredrGetTargetInfo
      CredrProfileLoaded LsarLookupNames3 CredrGetSessionTypes LsarRegisterAuditEvent LsarGenAuditEvent
      LsarUnregisterAuditEvent LsarQueryForestTrustInformation LsarSetForestTrustInformation CredrRename
      LsarLookupSids3 LsarLookupNames4 LsarOpenPolicySce LsarAdtRegisterSecurityEventSource
      LsarAdtUnregisterSecurityEventSource LsarAdtReportSecurityEvent`,
  },
  {
    name: 'srvsvc',
    uuid: '4b324fc8-1670-01d3-1278-5a47bf6ee188',
    operations: `NetrCharDevEnum NetrCharDevGetInfo NetrCharDevControl NetrCharDevQEnum NetrCharDevQGetInfo
      NetrCharDevQSetInfo NetrCharDevQPurge NetrCharDevQPurgeSelf NetrConnectionEnum NetrFileEnum NetrFileGetInfo
      NetrFileClose NetrSessionEnum NetrSessionDel NetrShareAdd NetrShareEnum NetrShareGetInfo NetrShareSetInfo
      NetrShareDel NetrShareDelSticky NetrShareCheck NetrServerGetInfo NetrServerSetInfo NetrServerDiskEnum
      NetrServerStatisticsGet NetrServerTransportAdd NetrServerTransportEnum NetrServerTransportDel NetrRemoteTOD
      NetrServerSetServiceBits NetprPathType NetprPathCanonicalize NetprPathCompare NetprNameValidate
      NetprNameCanonicalize NetprNameCompare NetrShareEnumSticky NetrShareDelStart NetrShareDelCommit
      NetrpGetFileSecurity NetrpSetFileSecurity NetrServerTransportAddEx NetrServerSetServiceBitsEx
      NetrDfsGetVersion NetrDfsCreateLocalPartition NetrDfsDeleteLocalPartition NetrDfsSetLocalVolumeState
      NetrDfsSetServerInfo NetrDfsCreateExitPoint NetrDfsDeleteExitPoint NetrDfsModifyPrefix NetrDfsFixLocalVolume
      NetrDfsManagerReportSiteInfo NetrServerTransportDelEx NetrServerAliasAdd NetrServerAliasEnum
      NetrServerAliasDel NetrShareDelEx`,
  },
  {
    name: 'wkssvc',
    uuid: '6bffd098-a112-3610-9833-46c3f87e345a',
    operations: `NetrWkstaGetInfo NetrWkstaSetInfo NetrWkstaUserEnum NetrWkstaUserGetInfo NetrWkstaUserSetInfo
      NetrWkstaTransportEnum NetrWkstaTransportAdd NetrWkstaTransportDel NetrUseAdd NetrUseGetInfo NetrUseDel
      NetrUseEnum NetrMessageBufferSend NetrWorkstationStatisticsGet NetrLogonDomainNameAdd NetrLogonDomainNameDel
      NetrJoinDomain NetrUnjoinDomain NetrRenameMachineInDomain NetrValidateName NetrGetJoinInformation
      NetrGetJoinableOUs NetrJoinDomain2 NetrUnjoinDomain2 NetrRenameMachineInDomain2 NetrValidateName2
      NetrGetJoinableOUs2 NetrAddAlternateComputerName NetrRemoveAlternateComputerName NetrSetPrimaryComputerName
      NetrEnumerateComputerNames`,
  },
  {
    name: 'svcctl',
    uuid: '367abb81-9844-35f1-ad32-98f038001003',
    operations: `CloseServiceHandle ControlService DeleteService LockServiceDatabase QueryServiceObjectSecurity
      SetServiceObjectSecurity QueryServiceStatus SetServiceStatus UnlockServiceDatabase NotifyBootConfigStatus
      ScSetServiceBitsW ChangeServiceConfigW CreateServiceW EnumDependentServicesW EnumServicesStatusW OpenSCManagerW
      OpenServiceW QueryServiceConfigW QueryServiceLockStatusW StartServiceW GetServiceDisplayNameW
      GetServiceKeyNameW ScSetServiceBitsA ChangeServiceConfigA CreateServiceA EnumDependentServicesA
      EnumServicesStatusA OpenSCManagerA OpenServiceA QueryServiceConfigA QueryServiceLockStatusA StartServiceA
      GetServiceDisplayNameA GetServiceKeyNameA ScGetCurrentGroupStateW EnumServiceGroupW ChangeServiceConfig2A
      ChangeServiceConfig2W QueryServiceConfig2A QueryServiceConfig2W QueryServiceStatusEx EnumServicesStatusExA
      EnumServicesStatusExW ScSendTSMessage CreateServiceWOW64A CreateServiceWOW64W ScQueryServiceTagInfo
      NotifyServiceStatusChange GetNotifyResult CloseNotifyHandle ControlServiceExA ControlServiceExW - - - -
      QueryServiceConfigEx - - - CreateWowService - - - OpenSCManager2`,
  },
  {
    name: 'winreg',
    uuid: '338cd001-2244-31f1-aaaa-900038001003',
    operations: `OpenClassesRoot OpenCurrentUser OpenLocalMachine OpenPerformanceData OpenUsers BaseRegCloseKey
      BaseRegCreateKey BaseRegDeleteKey BaseRegDeleteValue BaseRegEnumKey BaseRegEnumValue BaseRegFlushKey
      BaseRegGetKeySecurity BaseRegLoadKey BaseRegNotifyChangeKeyValue BaseRegOpenKey BaseRegQueryInfoKey
      BaseRegQueryValue BaseRegReplaceKey BaseRegRestoreKey BaseRegSaveKey BaseRegSetKeySecurity BaseRegSetValue
      BaseRegUnLoadKey BaseInitiateSystemShutdown BaseAbortSystemShutdown BaseRegGetVersion OpenCurrentConfig
      OpenDynData BaseRegQueryMultipleValues BaseInitiateSystemShutdownEx BaseRegSaveKeyEx OpenPerformanceText
      OpenPerformanceNlsText BaseRegQueryMultipleValues2 BaseRegDeleteKeyEx`,
  },
  {
    name: 'spoolss',
    uuid: '12345678-1234-abcd-ef00-0123456789ab',
    operations: `RpcEnumPrinters RpcOpenPrinter RpcSetJob RpcGetJob RpcEnumJobs RpcAddPrinter RpcDeletePrinter
      RpcSetPrinter RpcGetPrinter RpcAddPrinterDriver RpcEnumPrinterDrivers RpcGetPrinterDriver
      RpcGetPrinterDriverDirectory RpcDeletePrinterDriver RpcAddPrintProcessor RpcEnumPrintProcessors
      RpcGetPrintProcessorDirectory RpcStartDocPrinter RpcStartPagePrinter RpcWritePrinter RpcEndPagePrinter
      RpcAbortPrinter RpcReadPrinter RpcEndDocPrinter RpcAddJob RpcScheduleJob RpcGetPrinterData RpcSetPrinterData
      RpcWaitForPrinterChange RpcClosePrinter RpcAddForm RpcDeleteForm RpcGetForm RpcSetForm RpcEnumForms
      RpcEnumPorts RpcEnumMonitors RpcAddPort RpcConfigurePort RpcDeletePort RpcCreatePrinterIC
      RpcPlayGdiScriptOnPrinterIC RpcDeletePrinterIC RpcAddPrinterConnection RpcDeletePrinterConnection
      RpcPrinterMessageBox RpcAddMonitor RpcDeleteMonitor RpcDeletePrintProcessor RpcAddPrintProvidor
      RpcDeletePrintProvidor RpcEnumPrintProcessorDatatypes RpcResetPrinter RpcGetPrinterDriver2
      RpcClientFindFirstPrinterChangeNotification RpcFindNextPrinterChangeNotification
      RpcFindClosePrinterChangeNotification RpcRouterFindFirstPrinterChangeNotificationOld RpcReplyOpenPrinter
      RpcRouterReplyPrinter RpcReplyClosePrinter RpcAddPortEx RpcRemoteFindFirstPrinterChangeNotification
      RpcSpoolerInit RpcResetPrinterEx RpcRemoteFindFirstPrinterChangeNotificationEx RpcRouterReplyPrinterEx
      RpcRouterRefreshPrinterChangeNotification RpcSetAllocFailCount RpcOpenPrinterEx RpcAddPrinterEx RpcSetPort
      RpcEnumPrinterData RpcDeletePrinterData RpcClusterSplOpen RpcClusterSplClose RpcClusterSplIsAlive
      RpcSetPrinterDataEx RpcGetPrinterDataEx RpcEnumPrinterDataEx RpcEnumPrinterKey RpcDeletePrinterDataEx
      RpcDeletePrinterKey RpcSeekPrinter RpcDeletePrinterDriverEx RpcAddPerMachineConnection
      RpcDeletePerMachineConnection RpcEnumPerMachineConnections RpcXcvData RpcAddPrinterDriverEx RpcSplOpenPrinter
      RpcGetSpoolFileInfo RpcCommitSpoolData RpcGetSpoolFileInfo2 RpcCommitSpoolData2 - - RpcSendRecvBidiData - - - -
      RpcGetCorePrinterDrivers - RpcGetPrinterDriverPackagePath - - - - - RpcGetJobNamedPropertyValue
      RpcSetJobNamedProperty RpcDeleteJobNamedProperty RpcEnumJobNamedProperties - - RpcLogJobInfoForBranchOffice`,
  },
  {
    name: 'netlogon',
    uuid: '12345678-1234-abcd-ef00-01234567cffb',
    operations: `NetrLogonUasLogon NetrLogonUasLogoff NetrLogonSamLogon NetrLogonSamLogoff NetrServerReqChallenge
      NetrServerAuthenticate NetrServerPasswordSet NetrDatabaseDeltas NetrDatabaseSync NetrAccountDeltas
      NetrAccountSync NetrGetDCName NetrLogonControl NetrGetAnyDCName NetrLogonControl2 NetrServerAuthenticate2
      NetrDatabaseSync2 NetrDatabaseRedo NetrLogonControl2Ex NetrEnumerateTrustedDomains DsrGetDcName
      NetrLogonGetCapabilities NetrLogonSetServiceBits NetrLogonGetTrustRid NetrLogonComputeServerDigest
      NetrLogonComputeClientDigest NetrServerAuthenticate3 DsrGetDcNameEx DsrGetSiteName NetrLogonGetDomainInfo
      NetrServerPasswordSet2 NetrServerPasswordGet NetrLogonSendToSam DsrAddressToSiteNamesW DsrGetDcNameEx2
      NetrLogonGetTimeServiceParentDomain NetrEnumerateTrustedDomainsEx DsrAddressToSiteNamesExW
      DsrGetDcSiteCoverageW NetrLogonSamLogonEx DsrEnumerateDomainTrusts DsrDeregisterDnsHostRecords
      NetrServerTrustPasswordsGet DsrGetForestTrustInformation NetrGetForestTrustInformation
      NetrLogonSamLogonWithFlags NetrServerGetTrustInfo DsrUpdateReadOnlyServerDnsRecords
      DsrUpdateReadOnlyServerDnsRecords NetrChainSetClientAttributes`,
  },
  {
    name: 'drsuapi',
    uuid: 'e3514235-4b06-11d1-ab04-00c04fc2dcd2',
    operations: `DRSBind DRSUnbind DRSReplicaSync DRSGetNCChanges DRSUpdateRefs DRSReplicaAdd DRSReplicaDel
      DRSReplicaModify DRSVerifyNames DRSGetMemberships DRSInterDomainMove DRSGetNT4ChangeLog DRSCrackNames
      DRSWriteSPN DRSRemoveDsServer DRSRemoveDsDomain DRSDomainControllerInfo DRSAddEntry DRSExecuteKCC
      DRSGetReplInfo DRSAddSidHistory DRSGetMemberships2 DRSReplicaVerifyObjects DRSGetObjectExistence
      DRSQuerySitesByCost DRSInitDemotion DRSReplicaDemotion DRSFinishDemotion DRSAddCloneDC DRSWriteNgcKey
      DRSReadNgcKey`,
  },
  { name: 'dsaop', uuid: '7c44d7d4-31d5-424c-bd5e-2b3e1f323d22', operations: 'DSAPrepareScript DSAExecuteScript' },
  {
    name: 'epmapper',
    uuid: 'e1af8308-5d1f-11c9-91a4-08002b14a0fa',
    operations:
      'ept_insert ept_delete ept_lookup ept_map ept_lookup_handle_free ept_inq_object ept_mgmt_delete ept_map_auth',
  },
  {
    name: 'mgmt',
    uuid: 'afa8bd80-7d8a-11c9-bef4-08002b102989',
    operations: 'inq_if_ids inq_stats is_server_listening stop_server_listening inq_princ_name',
  },
  {
    name: 'IObjectExporter',
    uuid: '99fcfec4-5260-101b-bbcb-00aa0021347a',
    operations: 'ResolveOxid SimplePing ComplexPing ServerAlive ResolveOxid2 ServerAlive2',
  },
  {
    name: 'IRemoteSCMActivator',
    uuid: '000001a0-0000-0000-c000-000000000046',
    operations:
      'QueryInterfaceIRemoteSCMActivator AddRefIRemoteSCMActivator ReleaseIRemoteSCMActivator RemoteGetClassObject RemoteCreateInstance',
  },
  { name: 'IActivation', uuid: '4d9f4ab8-7d1c-11cf-861e-0020af6e7c57', operations: 'RemoteActivation' },
  {
    name: 'IRemUnknown',
    uuid: '00000131-0000-0000-c000-000000000046',
    first: 3,
    operations: 'RemQueryInterface RemAddRef RemRelease',
  },
  {
    name: 'IRemUnknown2',
    uuid: '00000143-0000-0000-c000-000000000046',
    first: 3,
    operations: 'RemQueryInterface RemAddRef RemRelease RemQueryInterface2',
  },
  { name: 'IUnknown', uuid: '00000000-0000-0000-c000-000000000046', operations: 'QueryInterface AddRef Release' },
  {
    name: 'IDispatch',
    uuid: '00020400-0000-0000-c000-000000000046',
    first: 3,
    operations: 'GetTypeInfoCount GetTypeInfo GetIDsOfNames Invoke',
  },
  {
    name: 'atsvc',
    uuid: '1ff70682-0a51-30e8-076d-740be8cee98b',
    operations: 'NetrJobAdd NetrJobDel NetrJobEnum NetrJobGetInfo',
  },
  {
    name: 'sasec',
    uuid: '378e52b0-c0a9-11cf-822d-00aa0051e40f',
    operations: 'SASetAccountInformation SASetNSAccountInformation SAGetNSAccountInformation SAGetAccountInformation',
  },
  {
    name: 'ITaskSchedulerService',
    uuid: '86d35949-83c9-4044-b424-db363231fd0c',
    operations: `SchRpcHighestVersion SchRpcRegisterTask SchRpcRetrieveTask SchRpcCreateFolder SchRpcSetSecurity
      SchRpcGetSecurity SchRpcEnumFolders SchRpcEnumTasks SchRpcEnumInstances SchRpcGetInstanceInfo SchRpcStopInstance
      SchRpcStop SchRpcRun SchRpcDelete SchRpcRename SchRpcScheduledRuntimes SchRpcGetLastRunInfo SchRpcGetTaskInfo
      SchRpcGetNumberOfMissedRuns SchRpcEnableTask`,
  },
  {
    name: 'dssetup',
    uuid: '3919286a-b10c-11d0-9ba8-00c04fd92ef5',
    operations: `DsRolerGetPrimaryDomainInformation DsRolerDnsNameToFlatName DsRolerDcAsDc DsRolerDcAsReplica
      DsRolerDemoteDc DsRolerGetDcOperationProgress DsRolerGetDcOperationResults DsRolerCancel
      DsRolerServerSaveStateForUpgrade DsRolerUpgradeDownlevelServer DsRolerAbortDownlevelServerUpgrade`,
  },
  {
    name: 'netdfs',
    uuid: '4fc742e0-4a10-11cf-8273-00aa004ae673',
    operations: `NetrDfsManagerGetVersion NetrDfsAdd NetrDfsRemove NetrDfsSetInfo NetrDfsGetInfo NetrDfsEnum
      NetrDfsMove NetrDfsRename NetrDfsManagerGetConfigInfo NetrDfsManagerSendSiteInfo NetrDfsAddFtRoot
      NetrDfsRemoveFtRoot NetrDfsAddStdRoot NetrDfsRemoveStdRoot NetrDfsManagerInitialize NetrDfsAddStdRootForced
      NetrDfsGetDcAddress NetrDfsSetDcAddress NetrDfsFlushFtTable NetrDfsAdd2 NetrDfsRemove2 NetrDfsEnumEx
      NetrDfsSetInfo2 NetrDfsAddRootTarget NetrDfsRemoveRootTarget NetrDfsGetSupportedNamespaceVersion`,
  },
  {
    name: 'browser',
    uuid: '6bffd098-a112-3610-9833-012892020162',
    operations: `I_BrowserrServerEnum I_BrowserrDebugCall I_BrowserrQueryOtherDomains I_BrowserrResetNetlogonState
      I_BrowserrDebugTrace I_BrowserrQueryStatistics I_BrowserResetStatistics NetrBrowserStatisticsClear
      NetrBrowserStatisticsGet I_BrowserrSetNetlogonState I_BrowserrQueryEmulatedDomains I_BrowserrServerEnumEx`,
  },
  {
    name: 'eventlog',
    uuid: '82273fdc-e32a-18c3-3f78-827929dc23ea',
    operations: `ElfrClearELFW ElfrBackupELFW ElfrCloseEL ElfrDeregisterEventSource ElfrNumberOfRecords
      ElfrOldestRecord ElfrChangeNotify ElfrOpenELW ElfrRegisterEventSourceW ElfrOpenBELW ElfrReadELW
      ElfrReportEventW ElfrClearELFA ElfrBackupELFA ElfrOpenELA ElfrRegisterEventSourceA ElfrOpenBELA ElfrReadELA
      ElfrReportEventA ElfrRegisterClusterSvc ElfrDeregisterClusterSvc ElfrWriteClusterEvents ElfrGetLogInformation
      ElfrFlushEL ElfrReportEventAndSourceW`,
  },
  {
    name: 'IEventService',
    uuid: 'f6beaff7-1e19-4fbb-9f8f-b89e2018337c',
    operations: `EvtRpcRegisterRemoteSubscription EvtRpcRemoteSubscriptionNextAsync EvtRpcRemoteSubscriptionNext
      EvtRpcRemoteSubscriptionWaitAsync EvtRpcRegisterControllableOperation EvtRpcRegisterLogQuery EvtRpcClearLog
      EvtRpcExportLog EvtRpcLocalizeExportLog EvtRpcMessageRender EvtRpcMessageRenderDefault EvtRpcQueryNext
      EvtRpcQuerySeek EvtRpcClose EvtRpcCancel EvtRpcAssertConfig EvtRpcRetractConfig EvtRpcOpenLogHandle
      EvtRpcGetLogFileInfo EvtRpcGetChannelList EvtRpcGetChannelConfig EvtRpcPutChannelConfig EvtRpcGetPublisherList
      EvtRpcGetPublisherListForChannel EvtRpcGetPublisherMetadata EvtRpcGetPublisherResourceMetadata
      EvtRpcGetEventMetadataEnum EvtRpcGetNextEventMetadata EvtRpcGetClassicLogDisplayName`,
  },
  {
    name: 'InitShutdown',
    uuid: '894de0c0-0d55-11d3-a322-00c04fa321a1',
    operations: 'BaseInitiateShutdown BaseAbortShutdown BaseInitiateShutdownEx',
  },
  {
    name: 'WindowsShutdown',
    uuid: 'd95afe70-a6d5-4259-822e-2c84da1ddb0d',
    operations: 'WsdrInitiateShutdown WsdrAbortShutdown',
  },
  ...['c681d488-d850-11d0-8c52-00c04fd90f7e', 'df1941c5-fe89-4e79-bf10-463657acf44d'].map((uuid) => ({
    name: uuid.startsWith('c681') ? 'efs' : 'efsrpc',
    uuid,
    operations: `EfsRpcOpenFileRaw EfsRpcReadFileRaw EfsRpcWriteFileRaw EfsRpcCloseRaw EfsRpcEncryptFileSrv
      EfsRpcDecryptFileSrv EfsRpcQueryUsersOnFile EfsRpcQueryRecoveryAgents EfsRpcRemoveUsersFromFile
      EfsRpcAddUsersToFile EfsRpcSetFileEncryptionKey EfsRpcNotSupported EfsRpcFileKeyInfo
      EfsRpcDuplicateEncryptionInfoFile - EfsRpcAddUsersToFileEx EfsRpcFileKeyInfoEx - EfsRpcGetEncryptedFileMetadata
      EfsRpcSetEncryptedFileMetadata EfsRpcFlushEfsCache EfsRpcEncryptFileExSrv EfsRpcQueryProtectors`,
  })),
  {
    name: 'FileServerVssAgent',
    uuid: 'a8e0653c-2744-4389-a61d-7373df8b2292',
    operations: `GetSupportedVersion SetContext StartShadowCopySet AddToShadowCopySet CommitShadowCopySet
      ExposeShadowCopySet RecoveryCompleteShadowCopySet AbortShadowCopySet IsPathSupported IsPathShadowCopied
      GetShareMapping DeleteShareMapping PrepareShadowCopySet`,
  },
  {
    name: 'IRemoteWinspool',
    uuid: '76f03f96-cdfd-44fc-a22c-64950a001209',
    operations: `RpcAsyncOpenPrinter RpcAsyncAddPrinter RpcAsyncSetJob RpcAsyncGetJob RpcAsyncEnumJobs RpcAsyncAddJob
      RpcAsyncScheduleJob RpcAsyncDeletePrinter RpcAsyncSetPrinter RpcAsyncGetPrinter RpcAsyncStartDocPrinter
      RpcAsyncStartPagePrinter RpcAsyncWritePrinter RpcAsyncEndPagePrinter RpcAsyncEndDocPrinter
      RpcAsyncAbortPrinter RpcAsyncGetPrinterData RpcAsyncGetPrinterDataEx RpcAsyncSetPrinterData
      RpcAsyncSetPrinterDataEx RpcAsyncClosePrinter RpcAsyncAddForm RpcAsyncDeleteForm RpcAsyncGetForm
      RpcAsyncSetForm RpcAsyncEnumForms RpcAsyncGetPrinterDriver RpcAsyncEnumPrinterData RpcAsyncEnumPrinterDataEx
      RpcAsyncEnumPrinterKey RpcAsyncDeletePrinterData RpcAsyncDeletePrinterDataEx RpcAsyncDeletePrinterKey
      RpcAsyncXcvData RpcAsyncSendRecvBidiData RpcAsyncCreatePrinterIC RpcAsyncPlayGdiScriptOnPrinterIC
      RpcAsyncDeletePrinterIC RpcAsyncEnumPrinters RpcAsyncAddPrinterDriver RpcAsyncEnumPrinterDrivers
      RpcAsyncGetPrinterDriverDirectory RpcAsyncDeletePrinterDriver RpcAsyncDeletePrinterDriverEx
      RpcAsyncAddPrintProcessor RpcAsyncEnumPrintProcessors RpcAsyncGetPrintProcessorDirectory RpcAsyncEnumPorts
      RpcAsyncEnumMonitors RpcAsyncAddPort RpcAsyncSetPort RpcAsyncAddMonitor RpcAsyncDeleteMonitor
      RpcAsyncDeletePrintProcessor RpcAsyncEnumPrintProcessorDatatypes RpcAsyncAddPerMachineConnection
      RpcAsyncDeletePerMachineConnection RpcAsyncEnumPerMachineConnections RpcSyncRegisterForRemoteNotifications
      RpcSyncUnRegisterForRemoteNotifications RpcSyncRefreshRemoteNotifications RpcAsyncGetRemoteNotifications
      RpcAsyncInstallPrinterDriverFromPackage RpcAsyncUploadPrinterDriverPackage RpcAsyncGetCorePrinterDrivers
      RpcAsyncCorePrinterDriverInstalled RpcAsyncGetPrinterDriverPackagePath RpcAsyncDeletePrinterDriverPackage
      RpcAsyncReadPrinter RpcAsyncResetPrinter RpcAsyncGetJobNamedPropertyValue RpcAsyncSetJobNamedProperty
      RpcAsyncDeleteJobNamedProperty RpcAsyncEnumJobNamedProperties RpcAsyncLogJobInfoForBranchOffice`,
  },
  {
    name: 'IRPCRemoteObject',
    uuid: 'ae33069b-a2a8-46ee-a235-ddfd339be281',
    operations: 'IRPCRemoteObject_Create IRPCRemoteObject_Delete',
  },
  {
    name: 'IRPCAsyncNotify',
    uuid: '0b6edbfa-4a24-4fc6-8a23-942b1eca65d1',
    operations: `IRPCAsyncNotify_RegisterClient IRPCAsyncNotify_UnregisterClient - IRPCAsyncNotify_GetNewChannel
      IRPCAsyncNotify_GetNotificationSendResponse IRPCAsyncNotify_GetNotification IRPCAsyncNotify_CloseChannel`,
  },
  {
    name: 'IWbemLevel1Login',
    uuid: 'f309ad18-d86a-11d0-a075-00c04fb68820',
    first: 3,
    operations: 'EstablishPosition RequestChallenge WBEMLogin NTLMLogin',
  },
  {
    name: 'IWbemLoginClientID',
    uuid: 'd4781cd6-e5d3-44df-ad94-930efe48a887',
    first: 3,
    operations: 'SetClientInfo',
  },
  {
    name: 'IWbemServices',
    uuid: '9556dc99-828c-11cf-a37e-00aa003240c7',
    first: 3,
    operations: `OpenNamespace CancelAsyncCall QueryObjectSink GetObject GetObjectAsync PutClass PutClassAsync
      DeleteClass DeleteClassAsync CreateClassEnum CreateClassEnumAsync PutInstance PutInstanceAsync DeleteInstance
      DeleteInstanceAsync CreateInstanceEnum CreateInstanceEnumAsync ExecQuery ExecQueryAsync ExecNotificationQuery
      ExecNotificationQueryAsync ExecMethod ExecMethodAsync`,
  },
  {
    name: 'IEnumWbemClassObject',
    uuid: '027947e1-d731-11ce-a357-000000000001',
    first: 3,
    operations: 'Reset Next NextAsync Clone Skip',
  },
  {
    name: 'IWbemFetchSmartEnum',
    uuid: '1c1c45ee-4395-11d2-b60b-00104b703efd',
    first: 3,
    operations: 'GetSmartEnum',
  },
  { name: 'IWbemWCOSmartEnum', uuid: '423ec01e-2e35-11d2-b604-00104b703efd', first: 3, operations: 'Next' },
  { name: 'ICertPassage', uuid: '91ae6020-9e3c-11cf-8d7c-00aa00c091be', operations: 'CertServerRequest' },
  {
    name: 'ICertRequestD',
    uuid: 'd99e6e70-fc88-11d0-b498-00a0c90312f3',
    first: 3,
    operations: 'Request GetCACert Ping',
  },
  {
    name: 'ICertRequestD2',
    uuid: '5422fd3a-d4b8-4cef-a12e-e87d4ca22e90',
    first: 3,
    operations: 'Request GetCACert Ping Request2 GetCAProperty GetCAPropertyInfo Ping2',
  },
  { name: 'BackupKey', uuid: '3dde7c30-165d-11d1-ab8f-00805f14db40', operations: 'BackuprKey' },
  {
    name: 'W32Time',
    uuid: '8fb6d884-2388-11d0-8c35-00c04fda2795',
    operations: `W32TimeSync W32TimeGetNetlogonServiceBits W32TimeQueryProviderStatus W32TimeQuerySource
      W32TimeQueryProviderConfiguration W32TimeQueryConfiguration W32TimeQueryStatus W32TimeLog`,
  },
  {
    name: 'trkwks',
    uuid: '300f3532-38cc-11d0-a3f0-0020af6b0add',
    operations: `old_LnkMendLink old_LnkSearchMachine old_LnkCallSvrMessage LnkSetVolumeId LnkRestartDcSynchronization
      GetVolumeTrackingInformation GetFileTrackingInformation TriggerVolumeClaims LnkOnRestore LnkMendLink
      old2_LnkSearchMachine LnkCallSvrMessage LnkSearchMachine`,
  },
  { name: 'trksvr', uuid: '4da1c422-943d-11d1-acae-00c04fc2aa3f', operations: 'LnkSvrMessage LnkSvrMessageCallback' },
  {
    name: 'dnsserver',
    uuid: '50abc2a4-574d-40b3-9d66-ee4fd5fba076',
    operations: `DnssrvOperation DnssrvQuery DnssrvComplexOperation DnssrvEnumRecords DnssrvUpdateRecord
      DnssrvOperation2 DnssrvQuery2 DnssrvComplexOperation2 DnssrvEnumRecords2 DnssrvUpdateRecord2`,
  },
  {
    name: 'FrsRpc',
    uuid: 'f5cc59b4-4264-101a-8c59-08002b2f8426',
    operations: 'FrsRpcSendCommPkt FrsRpcVerifyPromotionParent FrsRpcStartPromotionParent FrsNOP',
  },
  {
    name: 'FrsTransport',
    uuid: '897e2e5f-93f3-4376-9c9c-fd2277495c27',
    operations: `CheckConnectivity EstablishConnection EstablishSession RequestUpdates RequestVersionVector AsyncPoll
      RequestRecords UpdateCancel RawGetFileData RdcGetSignatures RdcPushSourceNeeds RdcGetFileData RdcClose
      InitializeFileTransferAsync Opnum14NotUsedOnWire RawGetFileDataAsync RdcGetFileDataAsync
      RdcFileDataTransferKeepAlive`,
  },
  {
    name: 'tapsrv',
    uuid: '2f5f6520-ca46-1067-b319-00dd010662da',
    operations: 'ClientAttach ClientRequest ClientDetach',
  },
  {
    name: 'msgsvc',
    uuid: '17fdd703-1827-4e34-79d4-24a55c53bb37',
    operations: 'NetrMessageNameAdd NetrMessageNameEnum NetrMessageNameGetInfo NetrMessageNameDel',
  },
  { name: 'msgsvcsend', uuid: '5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc', operations: 'NetrSendMessage' },
  {
    name: 'pnp',
    uuid: '8d9f4e40-a03d-11ce-8f69-08003e30051b',
    operations: `PNP_Disconnect PNP_Connect PNP_GetVersion PNP_GetGlobalState PNP_InitDetection PNP_ReportLogOn
      PNP_ValidateDeviceInstance PNP_GetRootDeviceInstance PNP_GetRelatedDeviceInstance PNP_EnumerateSubKeys
      PNP_GetDeviceList PNP_GetDeviceListSize PNP_GetDepth PNP_GetDeviceRegProp PNP_SetDeviceRegProp
      PNP_GetClassInstance PNP_CreateKey PNP_DeleteRegistryKey PNP_GetClassCount PNP_GetClassName
      PNP_DeleteClassKey PNP_GetInterfaceDeviceAlias PNP_GetInterfaceDeviceList PNP_GetInterfaceDeviceListSize
      PNP_RegisterDeviceClassAssociation PNP_UnregisterDeviceClassAssociation PNP_GetClassRegProp
      PNP_SetClassRegProp PNP_CreateDevInst PNP_DeviceInstanceAction PNP_GetDeviceStatus PNP_SetDeviceProblem
      PNP_DisableDevInst PNP_UninstallDevInst PNP_AddID PNP_RegisterDriver PNP_QueryRemove PNP_RequestDeviceEject
      PNP_IsDockStationPresent PNP_RequestEjectPC PNP_HwProfFlags PNP_GetHwProfInfo PNP_AddEmptyLogConf
      PNP_FreeLogConf PNP_GetFirstLogConf PNP_GetNextLogConf PNP_GetLogConfPriority PNP_AddResDes PNP_FreeResDes
      PNP_GetNextResDes PNP_GetResDesData PNP_GetResDesDataSize PNP_ModifyResDes PNP_DetectResourceConflict
      PNP_QueryResConfList PNP_SetHwProf PNP_QueryArbitratorFreeData PNP_QueryArbitratorFreeSize PNP_RunDetection
      PNP_RegisterNotification PNP_UnregisterNotification`,
  },
  {
    name: 'nspi',
    uuid: 'f5cc5a18-4264-101a-8c59-08002b2f8426',
    operations: `NspiBind NspiUnbind NspiUpdateStat NspiQueryRows NspiSeekEntries NspiGetMatches NspiResortRestriction
      NspiDNToMId NspiGetPropList NspiGetProps NspiCompareMIds NspiModProps NspiGetSpecialTable NspiGetTemplateInfo
      NspiModLinkAtt NspiDeleteEntries NspiQueryColumns NspiGetNamesFromIDs NspiGetIDsFromNames NspiResolveNames
      NspiResolveNamesW`,
  },
  {
    name: 'exchange_mapi',
    uuid: 'a4f1db00-ca47-1067-b31f-00dd010662da',
    operations: `EcDoConnect EcDoDisconnect EcDoRpc EcGetMoreRpc EcRRegisterPushNotification
      EcRUnregisterPushNotification EcDummyRpc EcRGetDCName EcRNetGetDCName EcDoRpcExt EcDoConnectEx EcDoRpcExt2 - -
      EcDoAsyncConnectEx`,
  },
  { name: 'AsyncEMSMDB', uuid: '5261574a-4572-206e-b268-6b199213b4e4', operations: 'EcDoAsyncWaitEx' },
  {
    name: 'exchange_rfr',
    uuid: '1544f5e0-613c-11d1-93df-00c04fd7bd09',
    operations: 'RfrGetNewDSA RfrGetFQDNFromServerDN',
  },
  {
    name: 'Witness',
    uuid: 'ccd8c074-d0e5-4a40-92b4-d074faa6ba28',
    operations: 'WitnessrGetInterfaceList WitnessrRegister WitnessrUnRegister WitnessrAsyncNotify WitnessrRegisterEx',
  },
  {
    name: 'TermSrvSession',
    uuid: '484809d6-4239-471b-b5bc-61df8c23ac48',
    operations: `RpcOpenSession RpcCloseSession RpcConnect RpcDisconnect RpcLogoff RpcGetUserName RpcGetTerminalName
      RpcGetState RpcIsSessionDesktopLocked RpcShowMessageBox RpcGetTimes RpcGetSessionCounters
      RpcGetSessionInformation - - RpcGetLoggedOnCount RpcGetSessionType RpcGetSessionInformationEx`,
  },
  {
    name: 'TermSrvEnumeration',
    uuid: '88143fd0-c28d-4b2b-8fef-8d882f6a9390',
    operations: `RpcOpenEnum RpcCloseEnum RpcFilterByState RpcFilterByCallersName RpcEnumAddFilter RpcGetEnumResult
      RpcFilterBySessionType - RpcGetSessionIds RpcGetEnumResultEx RpcGetAllSessions RpcGetAllSessionsEx`,
  },
  { name: 'winstation_rpc', uuid: '5ca4a760-ebb1-11cf-8611-00a0245420ed', operations: '' },
  { name: 'llsrpc', uuid: '342cfd40-3c6c-11ce-a893-08002b2e9c6d', operations: '' },
  { name: 'dhcpsrv', uuid: '6bffd098-a112-3610-9833-46c3f874532d', operations: '' },
  { name: 'dhcpsrv2', uuid: '5b821720-f63b-11d0-aad2-00c04fc324db', operations: '' },
  { name: 'KMS', uuid: '51c82175-844e-4750-b0d8-ec255555bc06', operations: '' },
]

const byUuid = new Map(
  INTERFACES.map(({ name, uuid, first = 0, operations }) => [
    uuid,
    { name, first, operations: operations.split(/\s+/).filter((operation) => operation !== '') },
  ]),
)

export const endpointName = (uuid: string) => byUuid.get(uuid)?.name ?? `unknown-${uuid}`

export function operationName(uuid: string, number: number): string {
  const found = byUuid.get(uuid)
  const name = found?.operations[number - found.first]
  return name === undefined || name === '-' ? `unknown-${number}` : name
}
