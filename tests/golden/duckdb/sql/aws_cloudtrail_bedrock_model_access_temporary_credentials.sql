SELECT "eventTime", "eventID", "userIdentity.arn", "awsRegion", "userIdentity.type", "userIdentity.userName", "userIdentity.accessKeyId", "sourceIPAddress", "userAgent", "eventName", "errorCode", "recipientAccountId", "requestParameters.modelId"
FROM cloudtrail
WHERE lower("eventSource") = 'bedrock.amazonaws.com' AND (lower("eventName") IN ('createfoundationmodelagreement', 'deletefoundationmodelagreement', 'getfoundationmodelavailability', 'getusecaseformodelaccess', 'listfoundationmodelagreementoffers', 'putfoundationmodelentitlement', 'putusecaseformodelaccess')) AND "userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\' AND NOT coalesce(lower("sessionCredentialFromConsole") = 'true', false)
ORDER BY "eventTime", "eventID";
