SELECT "eventTime", "eventID", "userIdentity.arn", "awsRegion", "userIdentity.type", "userIdentity.userName", "userIdentity.accessKeyId", "userIdentity.sessionContext.sessionIssuer.arn", "userIdentity.sessionContext.attributes.mfaAuthenticated", "sourceIPAddress", "vpcEndpointId", "userAgent", "eventSource", "eventName", "errorCode", "recipientAccountId"
FROM cloudtrail
WHERE lower("eventSource") = 'bedrock.amazonaws.com' AND (lower("eventName") IN ('deletemodelinvocationloggingconfiguration', 'putmodelinvocationloggingconfiguration'))
ORDER BY "eventTime", "eventID";
