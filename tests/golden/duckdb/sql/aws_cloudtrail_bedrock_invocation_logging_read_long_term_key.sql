SELECT "eventTime", "eventID", "userIdentity.arn", "awsRegion", "userIdentity.type", "userIdentity.userName", "userIdentity.accessKeyId", "userIdentity.sessionContext.sessionIssuer.arn", "userIdentity.sessionContext.attributes.mfaAuthenticated", "sourceIPAddress", "vpcEndpointId", "userAgent", "eventSource", "eventName", "errorCode", "recipientAccountId"
FROM cloudtrail
WHERE lower("eventSource") = 'bedrock.amazonaws.com' AND lower("eventName") = 'getmodelinvocationloggingconfiguration' AND ("userIdentity.accessKeyId" ILIKE 'AKIA%' ESCAPE '\' OR lower("userIdentity.type") IN ('iamuser', 'root')) AND NOT coalesce("userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\', false)
ORDER BY "eventTime", "eventID";
